# One image for GPU and CPU:
#   docker build -t coda-voice .                                         (GPU: torch with CUDA)
#   docker build -t coda-voice:cpu --build-arg TORCH=cpu .               (a third of the size)
#   docker run --gpus all -p 8998:8998 -v coda:/data -v ./keys.yaml:/keys.yaml:ro \
#     -e CODA_VOICE__SERVER__KEYS_FILE=/keys.yaml coda-voice
FROM python:3.11-slim AS build
ARG TORCH=cuda
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Who runs it may not write into /opt/coda: compiled here, or at every start.
ENV UV_COMPILE_BYTECODE=1
# The dependencies alone first: they change rarely, and are most of the image.
RUN uv venv /opt/coda && mkdir -p coda_voice && touch coda_voice/__init__.py \
 && if [ "$TORCH" = cpu ]; then export UV_TORCH_BACKEND=cpu; fi \
 && uv pip compile -q pyproject.toml -c constraints.txt -o requirements.txt \
 && uv pip install --no-cache --python /opt/coda/bin/python -r requirements.txt
COPY coda_voice coda_voice
COPY memory memory
COPY tools tools
COPY integrations integrations
COPY configs configs
RUN uv pip install --no-cache --no-deps --python /opt/coda/bin/python .

FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends libsndfile1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 coda && mkdir /data && chown coda /data
COPY --from=build /opt/coda /opt/coda
USER coda
WORKDIR /data
VOLUME /data
ENV PATH=/opt/coda/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/data/models \
    CODA_VOICE__SERVER__HOST=0.0.0.0 \
    CODA_VOICE__LOGGING__FORMAT=json
EXPOSE 8998
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
  CMD ["python", "-c", "import os,urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('CODA_VOICE__SERVER__PORT','8998')}/health/live\")"]
ENTRYPOINT ["coda-voice"]
CMD ["serve"]
