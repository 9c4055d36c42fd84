"""The whole recipe of coda-tiny: `python -m scripts.train_tiny.run`.

Stages: corpus, synthesis, codec, encode, lm, stt, decoder, export, evaluate. Each keeps what it
made in the work folder and is skipped or resumed when run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from moshi.models import loaders
from moshi.models.lm import LMModel
from safetensors.torch import load_file

from . import clips, codec, decoder, encode, export, lm, phones, stt, synthesis
from .corpus import vocabularies
from .deeper import deeper
from .dialogue import HEARD_LATEST, Material, Mix
from .listener import taught
from .own_voice import own_codes
from .parallel import launch, pick_device
from .synthesis import UserLine
from .tokenizer import load_tokenizer, train_tokenizer
from .transcripts import load_transcripts, overhear

STAGES = (
    "corpus", "synthesis", "codec", "encode", "overhear", "lm", "stt", "decoder", "export",
    "evaluate",
)  # fmt: skip
KINDS_OF_CLIPS = ("user", "user_varied", "agent", "noise", "quiet")


def material(work: Path) -> Material:
    """Everything that the language models are trained on."""
    constants = json.loads((work / "constants.json").read_text())
    with (work / "user_lines.jsonl").open() as rows:
        lines = [UserLine(**json.loads(row)) for row in rows]
    user = encode.Codes.load(work / "user.codes")
    user = user.and_then(encode.Codes.load(work / "user_varied.codes"))
    agent = work / "agent.codes"
    return Material(
        encode.Codes.load(agent) if agent.exists() else encode.Codes.none(),
        user,
        encode.Codes.load(work / "noise.codes"),
        encode.Codes.load(work / "quiet.codes"),
        [lines[index % len(lines)] for index in range(len(user))],  # every copy's
        np.array(constants["silence_codes"]),
        np.array(constants["sine_codes"]),
        load_tokenizer(work),
        load_transcripts(work / "overheard.pt") if (work / "overheard.pt").exists() else [],
    )


def stage_corpus(options: argparse.Namespace) -> None:
    """The text vocabulary."""
    if not (options.work / "tokenizer.model").exists():
        train_tokenizer(options.work)


def stage_synthesis(options: argparse.Namespace) -> None:
    """All recordings."""
    synthesis.synthesize(
        options.work,
        options.sentences,
        options.users,
        options.workers,
        options.user_seed,
        synthesis.STT_SHARES if options.users_for == "stt" else synthesis.LM_SHARES,
    )


def all_voices(options: argparse.Namespace) -> codec.Crops:
    """Crops of the agent and of users, with their phones."""
    stores = [clips.ClipStore(options.work, name) for name in ("agent", "user")]
    spoken = [clip.words for store in stores for clip in store.clips]
    labels = phones.Labels(phones.lexicon(options.work, spoken))
    return codec.Crops(*stores, labels, seed=options.seed)


def stage_codec(options: argparse.Namespace) -> None:
    """The codec, from nothing, or from an earlier one with `--warm-start`."""
    folder = options.work / "codec"
    if (folder / "done").exists():
        return
    folder.mkdir(exist_ok=True)
    torch.manual_seed(options.seed)
    if options.warm_start:
        mimi = codec.load_mimi(options.warm_start)
    else:
        mimi = loaders.get_mimi(None, codec.mimi_config(), num_codebooks=8)
    if options.warm_start and options.codec_minutes == 0:
        codec.save(mimi, folder)
    else:
        crops = all_voices(options)
        rate = 7e-4 if options.warm_start else 8e-4
        codec.train(mimi, crops, folder, options.codec_minutes, options.device, rate)
    (folder / "done").touch()


def encode_clips(name: str, options: argparse.Namespace) -> None:
    """Codes of one kind of clips, unless they are there."""
    work = options.work
    if (work / f"{name}.codes").exists() or (name == "agent" and not options.sentences):
        return
    torch.set_num_threads(1)
    mimi = codec.load_mimi(work / "codec", options.device).eval()
    if name == "noise":
        codes = encode.encode_noise(mimi, 60, seed=5)
    elif name == "quiet":
        codes = encode.encode_quiet(mimi, clips.ClipStore(work, "user"), 100, seed=6)
    elif name == "user":
        codes = encode.encode_user(mimi, clips.ClipStore(work, name), seed=4, level=True)
    elif name == "user_varied":
        store = clips.ClipStore(work, "user")
        codes = encode.encode_user(mimi, store, seed=24, level=True, varied=True)
    else:
        codes = encode.encode_agent(mimi, clips.ClipStore(work, name))
    codes.save(work / f"{name}.codes")


def stage_encode(options: argparse.Namespace) -> None:
    """Codes of every clip."""
    mimi = codec.load_mimi(options.work / "codec", options.device).eval()
    constants = encode.constant_codes(mimi)
    (options.work / "constants.json").write_text(json.dumps(constants))
    jobs = [(name, options) for name in KINDS_OF_CLIPS]
    if options.workers == 1:
        for job in jobs:
            encode_clips(*job)
        return
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        pool.starmap(encode_clips, jobs, chunksize=1)


def stage_overhear(options: argparse.Namespace) -> None:
    """What an earlier version's transcriber writes of the users."""
    path = options.work / "overheard.pt"
    if path.exists() or not options.warm_start or not (options.warm_start / "stt").exists():
        return
    data = material(options.work)
    overhear(new_stt(options).eval(), data.silence, data.user, HEARD_LATEST, path)


def new_talker(options: argparse.Namespace) -> lm.Talker:
    """A language model, fresh or from an earlier version's weights."""
    torch.manual_seed(options.seed)
    tokenizer = load_tokenizer(options.work)
    model = lm.Talker(tokenizer.vocab_size())
    if options.warm_start:
        old = sentencepiece.SentencePieceProcessor(str(options.warm_start / "tokenizer.model"))
        lm.warm_start(model, options.warm_start, tokenizer, old)
    return model


def trained_talker(options: argparse.Namespace) -> lm.Talker:
    """The newest checkpoint, or the earlier version where only other parts were trained on.

    Raises FileNotFoundError where there is neither: a fresh model has nothing to teach or say.
    """
    model, checkpoint = new_talker(options), options.work / "lm.pt"
    if checkpoint.exists() or not options.warm_start:
        model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    return model


def lm_worker(rank: int, workers: int, options: argparse.Namespace) -> None:
    """One process of the language model's training: first copying and reading, then everything."""
    data = material(options.work)
    model = new_talker(options)
    minutes, rows = options.lm_minutes, options.rows
    long, read, disturbed = max(1, rows // 3), rows // 3, rows // 6
    copying = Mix(say=0.25, prompt=0.9)
    rate = lm.PEAK_RATE * options.lm_rate
    plans = [
        lm.Plan(minutes * options.lm_first, 160, rows, read, disturbed, copying, 2 * rows, rate),
        lm.Plan(
            minutes * options.lm_long, 220, rows, read, disturbed, Mix(), 2 * rows, rate,
            recalling_rows=rows // 6,
        ),
        lm.Plan(
            minutes, 480, long, long // 3, 0, Mix(long_pause=0.25), rows, rate,
            recalling_rows=long // 3,
        ),
    ]  # fmt: skip
    for plan in plans:
        lm.train(rank, workers, model, data, options.work, plan, options.device, minutes)


def stage_lm(options: argparse.Namespace) -> None:
    """The language model."""
    launch(lm_worker, options.workers, options.work / "meeting", options)


def new_stt(options: argparse.Namespace) -> LMModel:
    """A transcription model, fresh or from an earlier version's weights."""
    torch.manual_seed(options.seed)
    size = load_tokenizer(options.work).vocab_size()
    model = LMModel(**stt.stt_config(size), dtype=torch.float32, device="cpu")
    earlier = options.warm_start / "stt" / "model.safetensors" if options.warm_start else None
    if earlier is not None and earlier.exists():
        weights = {name: w.float() for name, w in load_file(earlier).items()}
        model.load_state_dict(deeper(weights, len(model.transformer.layers)))
    return model


def stt_worker(rank: int, workers: int, options: argparse.Namespace) -> None:
    """One process of the transcription model's training."""
    data, model = material(options.work), new_stt(options)
    rate = stt.PEAK_RATE / 2 if options.warm_start else stt.PEAK_RATE
    near = stt.nearest_codes(codec.load_mimi(options.work / "codec"))
    labels = phones.Labels(phones.lexicon(options.work, data.user.words))
    minutes = options.stt_minutes
    stt.train(rank, workers, model, data, options.work, minutes, options.device, rate, near, labels)


def stage_stt(options: argparse.Namespace) -> None:
    """The transcription model."""
    phones.lexicon(options.work, encode.Codes.load(options.work / "user.codes").words)
    launch(stt_worker, options.workers, options.work / "meeting_stt", options)


def stage_decoder(options: argparse.Namespace) -> None:
    """More training of the codec's decoder alone; no code changes."""
    folder = options.work / "decoder"
    if (folder / "done").exists():
        return
    torch.set_num_threads(1 if options.workers > 1 else torch.get_num_threads())
    mimi = codec.load_mimi(options.work / "codec")
    drawn = options.work / "own.codes"
    if not drawn.exists():
        model = trained_talker(options).eval()
        own_codes(model, material(options.work), torch.float32).save(drawn)
    voices = all_voices(options)
    torch.manual_seed(options.seed)
    path, minutes = options.work / "listener.pt", options.listener_minutes
    listener = taught(voices, path, minutes, options.device)
    crops = decoder.CodeCrops(
        encode.Codes.load(options.work / "agent.codes"),
        voices.agent,
        voices.labels,
        np.array(json.loads((options.work / "constants.json").read_text())["silence_codes"]),
        seed=options.seed + 1,
        own=encode.Codes.load(drawn),
    )
    minutes, rate = options.decoder_minutes, options.decoder_rate * decoder.PEAK_RATE
    decoder.train(mimi, crops, listener, folder, minutes, options.device, rate)
    (folder / "done").touch()


def stage_export(options: argparse.Namespace) -> None:
    """The folder `--out` from the newest checkpoints."""
    work, out = options.work, options.out
    constants = json.loads((work / "constants.json").read_text())
    finished = work / "decoder" / "mimi.safetensors"
    codec_folder = finished.parent if finished.exists() else work / "codec"
    export.export_talker(trained_talker(options), work, codec_folder, constants, out)
    if (work / "stt.pt").exists():
        listener = new_stt(options)
        listener.load_state_dict(torch.load(work / "stt.pt", weights_only=True)["mean"])
        export.export_stt(listener, out)


def stage_evaluate(options: argparse.Namespace) -> None:
    """All bars as one table and as JSON."""
    from .evaluate import evaluate

    only, scale = options.only, options.scale
    evaluate(options.out, options.work, options.report, only, scale, options.variant)


def parse() -> argparse.Namespace:
    """The command line."""
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "stages", nargs="*", default=list(STAGES), metavar="stage", help=" ".join(STAGES)
    )
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "coda-tiny")
    parser.add_argument("--out", type=Path, default=root / "coda_voice" / "tiny")
    parser.add_argument("--report", type=Path, default=root / "benchmarks" / "tiny_eval.json")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--workers", type=int, default=2, help="processes; 1 on a GPU")
    parser.add_argument(
        "--warm-start", type=Path, help="folder of an earlier version: codec and weights"
    )
    parser.add_argument(
        "--sentences",
        type=int,
        default=synthesis.AGENT_SENTENCES,
        help="sentences that the agent reads; 0: nothing of the agent, for the stage stt alone",
    )
    parser.add_argument("--users", type=int, default=32_000, help="utterances of users")
    parser.add_argument(
        "--user-seed", type=int, default=12, help="another one: other utterances of users"
    )
    parser.add_argument(
        "--users-for", choices=("lm", "stt"), default="lm", help="whose training they are drawn for"
    )
    parser.add_argument(
        "--codec-minutes",
        type=float,
        default=90,
        help="0 with --warm-start: keep that codec as it is, and so its codes",
    )
    parser.add_argument("--lm-minutes", type=float, default=120)
    parser.add_argument("--lm-first", type=float, default=0.12, help="share spent on copying first")
    parser.add_argument(
        "--lm-long", type=float, default=0.8, help="share after which sequences are long"
    )
    parser.add_argument(
        "--lm-rate", type=float, default=1.0, help="share of the peak learning rate"
    )
    parser.add_argument("--rows", type=int, default=10, help="sequences per process and step")
    parser.add_argument("--stt-minutes", type=float, default=25)
    parser.add_argument("--decoder-minutes", type=float, default=20)
    parser.add_argument(
        "--decoder-rate", type=float, default=1.0, help="share of the peak; less goes on gently"
    )
    parser.add_argument(
        "--listener-minutes", type=float, default=10, help="whom the decoder is to be clear to"
    )
    parser.add_argument("--only", default="", help="sections of the evaluation, such as cs")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the evaluation")
    parser.add_argument(
        "--variant",
        type=int,
        default=0,
        help="of the evaluation: others have other recordings, to choose among versions by",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.device = pick_device(options.device)
    if options.device.type == "cuda":
        options.workers = 1
    unknown = set(options.stages) - set(STAGES)
    if unknown:
        parser.error(f"unknown stages: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    """Run the chosen stages in order."""
    options = parse()
    options.work.mkdir(parents=True, exist_ok=True)
    vocabularies()
    for stage in STAGES:
        if stage in options.stages:
            print(f"== {stage}", flush=True)
            globals()[f"stage_{stage}"](options)


if __name__ == "__main__":
    main()
