"""The peer of `finetune.py`, run by the interpreter of an environment of its own: the Hugging Face `Trainer` recipe.

python trainer_peer.py job.json

All of the encoder and a new linear head are fine-tuned as in the library's guide to text classification: AdamW at 2e-5
falling linearly to zero, weight decay 0.01, batches of 16 padded to their longest; three epochs. The job names the
encoder's folder, labelled texts, test texts and a seed; one line of JSON answers: accuracy on the test after each
epoch, and seconds (of the clock, and of the processor) of this process until then, imports included and the answers
left out.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

N_EPOCHS, BATCH, LEARNING_RATE, MAX_TOKENS = 3, 16, 2e-5, 256
BEGAN = time.perf_counter()


def main() -> None:
    """Train on the job's labels; answer its test after each epoch, with the clock stopped."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    import numpy as np
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    set_seed(job["seed"])
    classes = sorted(set(job["labels"]))
    number = {name: i for i, name in enumerate(classes)}
    tokenizer = AutoTokenizer.from_pretrained(job["encoder"], local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        job["encoder"], num_labels=len(classes), local_files_only=True
    )

    def pieces(texts: list[str], labels: list[str]) -> Dataset:
        rows = tokenizer(texts, truncation=True, max_length=MAX_TOKENS)
        return Dataset.from_dict({**rows, "labels": [number[name] for name in labels]})

    test = pieces(job["test_texts"], job["test_labels"])
    found: list[dict[str, float]] = []
    stopped = {"s": 0.0, "cpu_s": 0.0}

    class Answer(TrainerCallback):
        def on_epoch_end(self, *arguments: object, **more: object) -> None:
            now, cpu = time.perf_counter(), cpu_seconds()
            spent = {"s": now - BEGAN - stopped["s"], "cpu_s": cpu - stopped["cpu_s"]}
            logits = trainer.predict(test).predictions
            right = float((np.argmax(logits, axis=1) == np.array(test["labels"])).mean())
            found.append({"accuracy": right, **{name: round(value, 2) for name, value in spent.items()}})
            stopped["s"] += time.perf_counter() - now
            stopped["cpu_s"] += cpu_seconds() - cpu
            model.train()

    with_defaults = TrainingArguments(
        output_dir="unused", learning_rate=LEARNING_RATE, per_device_train_batch_size=BATCH, weight_decay=0.01,
        per_device_eval_batch_size=64, num_train_epochs=N_EPOCHS, seed=job["seed"], report_to="none",
        save_strategy="no", disable_tqdm=True, use_cpu=not job["gpu"], bf16=job["gpu"],
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=with_defaults, train_dataset=pieces(job["texts"], job["labels"]),
        data_collator=DataCollatorWithPadding(tokenizer), callbacks=[Answer()],
    )  # fmt: skip
    trainer.train()
    print(json.dumps({"epochs": found}))


def cpu_seconds() -> float:
    """User and system seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
