"""Tests of the order of faces."""

from fmpn_timm.data.sampler import EpochSampler, mix_seeds


def test_every_face_once_in_an_order_of_seed_and_epoch():
    sampler = EpochSampler(50, seed=3)
    first = list(sampler)
    assert sorted(index for index, _ in first) == list(range(50)) and len({seed for _, seed in first}) == 50
    assert list(sampler) == first == list(EpochSampler(50, seed=3))
    sampler.set_epoch(1)
    second = list(sampler)
    assert [i for i, _ in second] != [i for i, _ in first] and dict(second) != dict(first)
    other = list(EpochSampler(50, seed=4))
    assert [i for i, _ in other] != [i for i, _ in first] and dict(other) != dict(first)


def test_an_epoch_goes_on_where_it_was_left():
    sampler = EpochSampler(10, seed=0)
    whole = list(sampler)
    for start in (3, 10):
        sampler.start = start
        assert list(sampler) == whole[start:] and len(sampler) == 10


def test_an_epoch_of_whole_updates_leaves_others_out_each_time():
    sampler = EpochSampler(10, seed=0, used=8)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append({index for index, _ in sampler})
    assert len(sampler) == 8 and [len(faces) for faces in epochs] == [8, 8] and epochs[0] != epochs[1]


def test_seeds_do_not_meet():
    assert len({mix_seeds(a, b) for a in range(20) for b in range(20)}) == 400
    assert len({mix_seeds(*[0] * n) for n in range(1, 6)}) == 5
