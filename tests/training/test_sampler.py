from rafdb_vit.training.sampler import EpochSampler


def order(length=50, seed=1, epoch=0):
    sampler = EpochSampler(length, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_each_epoch_and_seed_has_an_order_of_its_own_with_each_face_once():
    orders = [order(seed=seed, epoch=epoch) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    assert len({tuple(found) for found in orders}) == 9
    assert all(sorted(found) == list(range(50)) for found in orders)
    assert len(EpochSampler(50, seed=0)) == 50


def test_the_order_depends_on_seed_and_epoch_alone():
    import torch

    first = order(epoch=3)
    torch.rand(7)
    assert order(epoch=3) == first
