from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.nn import functional as F
from torch.utils.data import BatchSampler

from rafdb_vit.training.loss import IGNORED, ExpressionLoss, ignore_padding


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_shares_of_a_step_add_up_to_torchs_mean(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(13, 7, generator=generator), torch.randint(0, 7, (13,), generator=generator)
    loss = ExpressionLoss(smoothing)
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    shares = [
        loss(SimpleNamespace(logits=part), own, num_items_in_batch=torch.tensor(13))
        for part, own in zip(logits.split(8), labels.split(8), strict=True)
    ]
    assert sum(shares).item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss(SimpleNamespace(logits=logits), labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_faces_that_fill_up_do_not_count():
    logits = torch.randn(4, 7, requires_grad=True)
    labels = torch.tensor([1, 2, IGNORED, IGNORED])
    loss = ExpressionLoss()(SimpleNamespace(logits=logits), labels)
    loss.backward()
    assert loss.item() == pytest.approx(F.cross_entropy(logits[:2], labels[:2]).item())
    assert logits.grad[2:].abs().max() == 0
    nothing = ExpressionLoss()(SimpleNamespace(logits=logits), torch.full((4,), IGNORED), num_items_in_batch=3)
    assert nothing.item() == 0


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 4, 5])
@pytest.mark.parametrize("faces", [1, 2, 5, 8, 9, 12, 31])
def test_each_face_of_an_epoch_counts_once_in_what_accelerate_hands_out(faces, size, processes):
    counted = []
    for process in range(processes):
        batches = BatchSampler(range(faces), batch_size=size, drop_last=False)
        # accelerate shards only where there are several processes.
        shard = list(BatchSamplerShard(batches, processes, process) if processes > 1 else batches)
        for i, batch in enumerate(shard):
            labels = torch.tensor(batch)
            if i == len(shard) - 1:
                labels = ignore_padding(labels, faces=faces, processes=processes, process=process)
            counted += labels[labels != IGNORED].tolist()
    assert sorted(counted) == list(range(faces))


def draw_soft(count):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.rand(count, 7, generator=generator).pow(3)
    return torch.randn(count, 7, generator=generator, requires_grad=True), vectors / vectors.sum(1, keepdim=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_shares_of_soft_labels_add_up_to_torchs_mean(smoothing):
    logits, vectors = draw_soft(13)
    loss = ExpressionLoss(smoothing)
    expected = F.cross_entropy(logits, vectors, label_smoothing=smoothing)
    entries = torch.tensor(13 * 7)  # what the Trainer counts: every entry that is not IGNORED
    shares = [
        loss(SimpleNamespace(logits=part), own, num_items_in_batch=entries)
        for part, own in zip(logits.split(8), vectors.split(8), strict=True)
    ]
    assert sum(shares).item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss(SimpleNamespace(logits=logits), vectors).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_vector_of_one_class_is_its_label():
    logits, _ = draw_soft(5)
    labels = torch.tensor([0, 6, 3, 3, 1])
    soft = ExpressionLoss(0.1)(SimpleNamespace(logits=logits), F.one_hot(labels, 7).float())
    hard = ExpressionLoss(0.1)(SimpleNamespace(logits=logits), labels)
    assert soft.item() == pytest.approx(hard.item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_faces_with_vectors_that_fill_up_do_not_count(smoothing):
    logits, vectors = draw_soft(6)
    filled = ignore_padding(vectors, faces=10, processes=2, process=1)  # 6 + 4, filled up with 2
    assert (filled[4:] == IGNORED).all() and torch.equal(filled[:4], vectors[:4])
    loss = ExpressionLoss(smoothing)(SimpleNamespace(logits=logits), filled)
    loss.backward()
    expected = F.cross_entropy(logits[:4], vectors[:4], label_smoothing=smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert logits.grad[4:].abs().max() == 0
