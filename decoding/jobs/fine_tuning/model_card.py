"""The model card of a fine-tuned expert: README.md, with the metadata that the Hugging Face hub reads."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets")
TEMPLATE = """\
---
{{ card_data }}
---

# {{ title }}

{{ "All weights" if report.full else "A LoRA adapter of rank %d" % report.rank }} of {{ base }}, fine-tuned on \
{{ report.examples.train }} examples by `python -m decoding.finetune`.

## How to use it

```python
import decoding

model, tokenizer = decoding.load({{ load }})
steer = decoding.Steer("path/to/this/folder", gamma=0.2, beta=0.1)
inputs = tokenizer({{ prompt }}, return_tensors="pt")
output = decoding.generate(model, **inputs, processors=[steer, decoding.Sample()], max_new_tokens=64)
print(tokenizer.decode(output[0], skip_special_tokens=True))
```

## Training data

{{ report.examples.train }} examples to train on and {{ report.examples.held_out }} held out, from `{{ file }}`. They \
are in this folder: `train.jsonl` and `held_out.jsonl`.
{%- if report.prompt %} Each stands behind the prompt {{ prompt }}, which has no loss.{% endif %}

| | train | held out |
|---|---|---|
| examples | {{ report.examples.train }} | {{ report.examples.held_out }} |
| tokens with a loss | {{ report.tokens.train }} | {{ report.tokens.held_out }} |
| examples cut to {{ report.max_length }} tokens | {{ report.cut.train }} | {{ report.cut.held_out }} |

## Results

On the held-out examples, each token weighing the same:

| | before | after |
|---|---|---|
| loss, nats a token | {{ "%.4f" % report.loss.before }} | {{ "%.4f" % report.loss.after }} |
| perplexity | {{ "%.2f" % report.perplexity.before }} | {{ "%.2f" % report.perplexity.after }} |

Nothing else was measured: not what the model says, nor to whom it may do harm.

## Training procedure

AdamW, at a learning rate that falls linearly from {{ report.learning_rate }} to 0; {{ report.epochs }} \
{{ "epoch" if report.epochs == 1 else "epochs" }} of batches of {{ report.batch_size }}; seed {{ report.seed }}. \
`finetune.json` has all settings. Libraries: {{ libraries }}.
"""


def make_card(report: dict[str, Any]) -> Any:
    """Make a `huggingface_hub.ModelCard` from `finetune.json`. It names no folder of this machine.

    Args:
        report: the content of `finetune.json`, as `python -m decoding.finetune` writes it.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    from ...models import default_model

    model = report["model"]
    embedded, local = model == default_model.NAME, Path(model).exists()
    base = default_model.HUB_ID if embedded else Path(model).name if local else model
    data = Path(report["file"]).name
    title = f"{base.rpartition('/')[2]} fine-tuned on {data}"
    card = ModelCardData(
        base_model=None if local else base,
        library_name="transformers" if report["full"] else "peft",
        pipeline_tag="text-generation",
        tags=["generated_from_trainer", "trl", "sft", *([] if report["full"] else ["lora"])],
        model_name=title,
        eval_results=[
            EvalResult("text-generation", "file", data, name, values["after"], dataset_split="held_out")
            for name, values in (("loss", report["loss"]), ("perplexity", report["perplexity"]))
        ],
    )
    libraries = ", ".join(f"{name} {found}" for name in LIBRARIES if (found := version_of(name)))
    return ModelCard.from_template(
        card,
        template_str=TEMPLATE,
        report=report,
        title=title,
        base=f"`{base}`" if local else f"[{base}](https://huggingface.co/{base})",
        load="" if embedded else repr(base),
        prompt=repr(report["prompt"] or "The"),
        file=data,
        libraries=libraries,
    )


def version_of(name: str) -> str | None:
    """The version of an installed library, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
