"""PCM in, PCM out: files, resampling, voice activity, enhancement, telephone codecs."""
