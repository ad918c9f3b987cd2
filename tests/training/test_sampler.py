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


def test_whole_steps_leave_out_the_last_faces_of_an_order():
    sampler = EpochSampler(50, seed=1, whole=16)
    seen = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        seen.append(list(sampler))
        assert len(seen[-1]) == len(sampler) == 48 and seen[-1] == order(epoch=epoch)[:48]
    assert set().union(*seen) == set(range(50))  # others each epoch
    assert len(EpochSampler(48, seed=0, whole=16)) == 48 and len(EpochSampler(9, seed=0, whole=16)) == 0
