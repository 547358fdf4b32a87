"""Runtime: devices, sessions, sampling, tokenizer, chat templates, evaluation."""
