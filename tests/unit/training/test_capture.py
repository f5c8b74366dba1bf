import torch
from training_fixture import CPU, OPTIONS

from visrec.encoders.age import Training
from visrec.training import capture
from visrec.training.method import Setup, make


def test_on_a_cpu_a_step_is_the_plain_one():
    x = torch.rand(8, 3, 32, 32) * 2 - 1
    method, step = capture.prepare(lambda: make(Training, Setup(OPTIONS, 32, 0, CPU)), x, None)
    plain = make(Training, Setup(OPTIONS, 32, 0, CPU))
    plain.begin()
    terms, expected = step(x, None), plain.step(x, None)
    assert terms.keys() == expected.keys()
    assert not any(term.requires_grad for term in terms.values())
    assert all(torch.equal(method.state()[name], tensor) for name, tensor in plain.state().items())


def test_where_cuda_graphs_do_not_work_training_goes_on_without_them_and_says_so(monkeypatch, caplog):
    def broken(*args):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    def build():
        method = make(Training, Setup(OPTIONS, 32, 0, CPU))
        method.device = torch.device("cuda")
        method.optimisers = dict
        built.append(method)
        return method

    built = []
    monkeypatch.setattr(capture, "_captured", broken)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: None)
    method, _ = capture.prepare(build, torch.zeros(1), None)
    assert len(built) == 2  # the first may have been left in the middle of a step
    assert method is built[1]
    assert "CUDA graphs do not work here (operation not permitted when stream is capturing)" in caplog.text
