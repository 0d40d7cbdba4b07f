"""Teacher: a transformer that is fine-tuned on some rows and scores others.

Needs the extra `distill`. PyTorch and TensorFlow crash in one process, because both bring their own
threads; nothing here imports TensorFlow.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from shared.arrays import Floats
from trainer.data.dataset import Indices

EPOCHS = 3
_BATCH_SIZE = 32
_SCORED_AT_ONCE = 256
_LEARNING_RATE = 5e-5
"""For a transformer of width 768; the rate of narrower ones is higher in proportion."""
_WIDTH = 768
_WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""
_LONGEST = 96
"""Word pieces of a text; longer ones are cut."""
_LAYER = re.compile(r"\b(?:layers?|h|blocks?)\.(\d+)\.")


class Teacher:
    """Fine-tunes the upper half of a transformer's layers, and a linear layer over their mean.

    It uses a GPU if there is one. The lower half and the embeddings stay as they were pretrained,
    which halves the work and avoids overfitting to some thousand tweets.

    Args:
        model: a name or a folder, as `transformers.AutoModel.from_pretrained` takes it.
        texts: all texts to train on or to score; rows are indices of it.
        targets: probabilities, float32; rows that are only scored need none.
    """

    def __init__(self, model: str, texts: Sequence[str], targets: Floats) -> None:
        from transformers import AutoTokenizer

        self._model = model
        self._targets = targets
        tokenizer = AutoTokenizer.from_pretrained(model)
        self._padding = tokenizer.pad_token_id or 0
        self._pieces = tokenizer(list(texts), truncation=True, max_length=_LONGEST)["input_ids"]

    def teach(
        self, train: Indices, score: Indices, seed: int, progress: Callable[[int], None]
    ) -> Floats:
        """Train a model on some rows, and return its probabilities of others, float32, (score,).

        Args:
            train: rows to train on.
            score: rows to score.
            seed: of the linear layer, dropout and batches.
            progress: called after each batch with its number of rows.
        """
        import torch
        from torch import nn
        from transformers import AutoModel

        torch.manual_seed(seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        body = AutoModel.from_pretrained(self._model).float().to(device)
        head = nn.Linear(body.config.hidden_size, 1).to(device)
        _freeze_lower_half(body)
        parameters = [p for p in (*body.parameters(), *head.parameters()) if p.requires_grad]
        rate = _LEARNING_RATE * _WIDTH / body.config.hidden_size
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
        steps = EPOCHS * -(-len(train) // _BATCH_SIZE)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / (_WARM_UP * steps), 1 - step / steps)
        )

        def logits(rows: Indices) -> Any:
            ids, mask = (torch.from_numpy(part).to(device) for part in self._batch(rows))
            with torch.autocast(device, torch.bfloat16):
                states = body(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            weights = mask.unsqueeze(-1).float()
            return head((states * weights).sum(1) / weights.sum(1)).squeeze(-1)

        draw = np.random.default_rng(seed)
        body.train()
        for _ in range(EPOCHS):
            for rows in self._batches(train, draw):
                targets = torch.from_numpy(self._targets[rows]).to(device)
                loss = nn.functional.binary_cross_entropy_with_logits(logits(rows), targets)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                schedule.step()
                progress(len(rows))
        body.eval()
        found = np.empty(len(self._pieces), np.float32)
        with torch.no_grad():
            for rows in self._batches(score):
                found[rows] = torch.sigmoid(logits(rows)).cpu().numpy()
                progress(len(rows))
        return found[score]

    def _batches(self, rows: Indices, draw: np.random.Generator | None = None) -> Iterator[Indices]:
        """Yield batches of rows of similar length, in random order if `draw` is given."""
        size = _SCORED_AT_ONCE if draw is None else _BATCH_SIZE
        portion = len(rows) if draw is None else 16 * size
        if draw is not None:
            rows = draw.permutation(rows)
        for start in range(0, len(rows), portion):
            some = rows[start : start + portion]
            some = some[np.argsort([len(self._pieces[row]) for row in some], kind="stable")]
            batches = [some[at : at + size] for at in range(0, len(some), size)]
            order = range(len(batches)) if draw is None else draw.permutation(len(batches))
            yield from (batches[number] for number in order)

    def _batch(self, rows: Indices) -> tuple[Indices, Indices]:
        pieces = [self._pieces[row] for row in rows]
        ids = np.full((len(pieces), max(map(len, pieces))), self._padding, np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(pieces):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return ids, mask


def _freeze_lower_half(body: Any) -> None:
    layers = {name: _LAYER.search(name) for name, _ in body.named_parameters()}
    depth = 1 + max((int(match[1]) for match in layers.values() if match), default=0)
    for name, parameter in body.named_parameters():
        match = layers[name]
        upper = match is not None and 2 * int(match[1]) >= depth
        parameter.requires_grad = upper or ("embeddings" not in name and match is None)
