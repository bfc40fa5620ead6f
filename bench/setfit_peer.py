"""The peer of `fewlabel_text.py`, run by the interpreter of an environment of its own: SetFit's default recipe.

python setfit_peer.py job.json

The job names the encoder's folder, labelled texts, test texts and a seed; one line of JSON answers: accuracy, and
user + system seconds of this process until the model is trained (imports included, answering the test left out, as for
Muster). One thread, so that waiting threads are not counted as work.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

N_ITERATIONS, BATCH = 20, 16


def main() -> None:
    """Train on the job's labels, answer its test."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    import torch
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    torch.set_num_threads(1)
    classes = sorted(set(job["labels"]))
    number = {name: i for i, name in enumerate(classes)}
    model = SetFitModel.from_pretrained(job["encoder"], local_files_only=True)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            batch_size=BATCH, num_iterations=N_ITERATIONS, num_epochs=1, seed=job["seed"], report_to="none",
            save_strategy="no", show_progress_bar=False,
        ),
        train_dataset=Dataset.from_dict({"text": job["texts"], "label": [number[name] for name in job["labels"]]}),
    )  # fmt: skip
    trainer.train()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answers = model.predict(job["test_texts"], batch_size=64, show_progress_bar=False).tolist()
    right = [int(a) == number[name] for a, name in zip(answers, job["test_labels"], strict=True)]
    print(json.dumps({"accuracy": sum(right) / len(right), "cpu_s": round(usage.ru_utime + usage.ru_stime, 2)}))


if __name__ == "__main__":
    main()
