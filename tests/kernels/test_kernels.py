"""Every kernel against the recursion, and the recursion against a loop that autograd sees."""

from __future__ import annotations

import copy
import itertools
import os
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from program import ROOT
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import RGA, STBP, Arctan, SNNClassifier, Triangle
from snn_lightning import functional as F
from snn_lightning.functional import dynamics
from snn_lightning.kernels import cpu, layout, reference
from snn_lightning.surrogates import PotentialDependent, Surrogate

NEURONS = [  # leak, threshold, reset, initial
    (0.9, 1.0, "hard", 0.0),
    (0.9, 1.3, "soft", 0.4),
    (0.5, 0.7, "hard", 0.3),
    (1.0, 1.0, "soft", 0.5),
    (1.0, 1.0, "hard", 0.0),
]
SHAPE = (5, 3, 4, 6, 7)  # (T, N, C, H, W)


def _contiguous(x: Tensor) -> Tensor:
    return x


def _channels_last(x: Tensor) -> Tensor:
    return x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, x.shape[:2])


def _direct(x: Tensor) -> Tensor:
    return x[:1].expand_as(x)


def _direct_channels_last(x: Tensor) -> Tensor:
    return _channels_last(x[:1]).expand_as(x)


def _samples_first(x: Tensor) -> Tensor:
    return x.transpose(0, 1).contiguous().transpose(0, 1)


LAYOUTS = [_contiguous, _channels_last, _direct, _direct_channels_last, _samples_first]
layouts = pytest.mark.parametrize("laid_out", LAYOUTS)


@pytest.fixture(scope="module")
def _compiler() -> None:
    if dynamics._fastest(torch.device("cpu"), torch.float32) is not cpu:
        pytest.skip("there is no C compiler here")


def lif(current: Tensor, neuron: Any, surrogate: Any, detach_reset: bool = False) -> Tensor:
    *neuron, initial = neuron
    more = {"initial": initial, "surrogate": surrogate, "detach_reset": detach_reset}
    return F.lif(current, *neuron, **more)


def currents(dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).mul_(0.8).add_(0.4).to(dtype)


def naive(current, leak, threshold, reset, initial, surrogate, detach_reset=False) -> Tensor:
    """The paper's equations, step by step, with a graph."""

    class Fire(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return (x >= 0).to(x.dtype)

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            return grad * surrogate(ctx.saved_tensors[0])

    v = torch.full_like(current[0], initial)
    spikes = []
    for step in current:
        u = leak * v + step
        s = Fire.apply(u - threshold)
        resets = s.detach() if detach_reset else s
        v = u * (1 - resets) if reset == "hard" else u - threshold * resets
        spikes.append(s)
    return torch.stack(spikes)


class Opaque(Surrogate):
    """A triangle that does not say that it is elementwise, and insists on the whole layer."""

    def __call__(self, x: Tensor) -> Tensor:
        assert x.shape == SHAPE
        return Triangle()(x)


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("parameters", NEURONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@layouts
def test_the_c_kernel_fires_as_the_recursion_to_the_last_bit(laid_out, dtype, parameters) -> None:
    leak, threshold, *rest = parameters
    threshold = dynamics._representable(threshold, dtype)
    current = laid_out(currents(dtype, (5, 3, 4, 30, 31)))  # several blocks, on several threads
    before = current.clone()
    torch.set_num_threads(3)
    try:
        ours = cpu.forward(current, leak, threshold, *rest, keep=True)
        spikes, nothing = cpu.forward(current, leak, threshold, *rest, keep=False)
    finally:
        torch.set_num_threads(1)
    theirs = reference.forward(current, leak, threshold, *rest, keep=True)
    assert 0 < theirs[0].float().mean() < 1
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
        assert a.stride() == b.stride()
    assert torch.equal(spikes, theirs[0])
    assert nothing is None
    assert torch.equal(current, before)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("parameters", NEURONS)
@pytest.mark.parametrize("surrogate", [Triangle(), Arctan(), Opaque()], ids=repr)
@pytest.mark.parametrize("kernel", [reference, cpu])
@layouts
def test_gradients_are_those_of_the_naive_loop(
    kernel, surrogate, laid_out, parameters, detach, monkeypatch, request
) -> None:
    if kernel is cpu:
        request.getfixturevalue("_compiler")
        monkeypatch.setattr(cpu, "_CHUNK", 5)  # 1024 neurons at the least: see below
    monkeypatch.setattr(dynamics, "_fastest", lambda *_: kernel)
    current = laid_out(currents()).requires_grad_()
    alone = Triangle() if isinstance(surrogate, Opaque) else surrogate
    expected = naive(current, *parameters, alone, detach)
    spikes = lif(current, parameters, surrogate, detach)
    assert torch.equal(spikes, expected)
    grads = torch.randn(SHAPE, dtype=torch.float64)
    mixed = [
        grads,
        _channels_last(grads),
        grads[:1].expand_as(grads),
        torch.ones(()).double().expand_as(grads),
    ]
    for grad in mixed:
        ours = torch.autograd.grad(spikes, current, grad, retain_graph=True)[0]
        theirs = torch.autograd.grad(expected, current, grad, retain_graph=True)[0]
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("detach", [False, True])
def test_chunks_and_threads_change_nothing(detach, reset, dtype, atol, monkeypatch) -> None:
    current = _channels_last(currents(dtype, (4, 2, 8, 20, 20)))
    x = reference.forward(current, 0.9, 1.0, reset, 0.0, keep=True)[1]
    grad = torch.randn_like(x)
    expected = reference.backward(x, grad, 0.9, 1.0, reset, Arctan())
    whole = cpu.backward(x, grad, 0.9, 1.0, reset, Arctan())
    torch.testing.assert_close(whole, expected, rtol=0, atol=atol)  # float32: other roundings
    monkeypatch.setattr(cpu, "_CHUNK", 4 * 1500)  # 6400 neurons: five chunks
    torch.set_num_threads(2)
    try:
        assert torch.equal(cpu.backward(x, grad, 0.9, 1.0, reset, Arctan()), whole)
    finally:
        torch.set_num_threads(1)


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_soft_reset_may_take_off_what_is_not_the_threshold(dtype) -> None:
    current = currents(dtype)
    spikes, x = cpu.forward(current, 0.5, 1.0, "soft", 0.0, True, 2.0)
    expected = reference.forward(current, 0.5, 1.0, "soft", 0.0, True, 2.0)
    assert torch.equal(spikes, expected[0])
    assert torch.equal(x, expected[1])
    assert not torch.equal(spikes, cpu.forward(current, 0.5, 1.0, "soft", 0.0, False)[0])
    grad = torch.randn_like(x)
    ours, theirs, other = (
        kernel.backward(x.double(), grad.double(), 0.5, 1.0, "soft", Arctan(), drop=drop)
        for kernel, drop in ((cpu, 2.0), (reference, 2.0), (reference, None))
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    assert (theirs - other).abs().max() > 0.1


@pytest.mark.usefixtures("_compiler")
def test_bfloat16_gradients_are_close() -> None:
    # The kernel carries the gradient in float32, the recursion rounds it to 8 bits at every step.
    current = currents(torch.bfloat16)
    x = reference.forward(current, 0.9, 1.0, "hard", 0.0, keep=True)[1]
    grad = torch.randn_like(x)
    exact = reference.backward(x.double(), grad.double(), 0.9, 1.0, "hard", Triangle())
    for kernel in (cpu, reference):
        ours = kernel.backward(x, grad, 0.9, 1.0, "hard", Triangle())
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.usefixtures("_compiler")
def test_surrogates_may_answer_in_any_layout_and_type() -> None:
    current = _channels_last(currents(torch.float32))
    x = cpu.forward(current, 0.9, 1.0, "hard", 0.0, keep=True)[1]
    grad = torch.randn_like(x)
    odd = [
        lambda x: Triangle()(x.contiguous()),
        lambda x: Triangle()(x).double(),
        lambda x: Triangle()(x)[:1].expand_as(x),
        lambda x: torch.ones((), dtype=x.dtype),
    ]
    for surrogate in odd:
        expected = reference.backward(
            x, grad, 0.9, 1.0, "hard", lambda x, f=surrogate: f(x).float().expand_as(x).clone()
        )
        ours = cpu.backward(x, grad, 0.9, 1.0, "hard", surrogate)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    with pytest.raises(RuntimeError):
        cpu.backward(x, grad, 0.9, 1.0, "hard", lambda x: x[..., :2].clone())


def test_a_surrogate_over_the_batch_sees_the_batch() -> None:
    assert not PotentialDependent.elementwise
    current = currents().requires_grad_()
    expected = naive(current, *NEURONS[0], surrogate=lambda x: torch.ones_like(x))
    seen = []

    def surrogate(x: Tensor) -> Tensor:
        seen.append(tuple(x.shape))
        return torch.ones_like(x)

    spikes = lif(current, NEURONS[0], surrogate)
    ours, theirs = (torch.autograd.grad(s.sum(), current)[0] for s in (spikes, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    assert seen == [SHAPE]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_without_a_compiler_the_recursion_runs(dtype, monkeypatch) -> None:
    current = currents(dtype).requires_grad_()

    def run() -> tuple[Tensor, Tensor]:
        spikes = F.lif(current, surrogate=Triangle())
        return spikes, torch.autograd.grad(spikes.float().square().sum(), current)[0]

    fast = run()
    for compiler in ("no-such-compiler", "false", ""):
        monkeypatch.setenv("CC", compiler)
        dynamics._fastest.cache_clear()
        cpu._library.cache_clear()
        with pytest.warns(UserWarning, match="run on the plain recursion"):
            assert dynamics._fastest(torch.device("cpu"), dtype) is reference
        assert F.kernel_in_use(torch.device("cpu"), dtype) == "reference"
        with warnings.catch_warnings():  # once a process
            warnings.simplefilter("error")
            slow = run()
        assert torch.equal(fast[0], slow[0])
        torch.testing.assert_close(
            fast[1], slow[1], rtol=0, atol=0.1 if dtype.itemsize == 2 else 1e-5
        )
    dynamics._fastest.cache_clear()
    cpu._library.cache_clear()


def test_a_kernel_that_is_wrong_is_not_used(monkeypatch) -> None:
    def strict(current, leak, threshold, *rest):  # fires above the threshold, not at it
        return reference.forward(current, leak, threshold * (1 + 1e-6), *rest)

    monkeypatch.setattr(cpu, "forward", strict)
    dynamics._fastest.cache_clear()
    with pytest.warns(UserWarning, match="float64 on cpu .* does not fire as it should"):
        assert dynamics._fastest(torch.device("cpu"), torch.float64) is reference
    dynamics._fastest.cache_clear()


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_kernel_whose_gradients_are_wrong_is_not_used(dtype, monkeypatch) -> None:
    dynamics._fastest.cache_clear()
    assert F.kernel_in_use(torch.device("cpu"), dtype) == "cpu"
    right = cpu.backward

    def attached(*arguments):  # forgets the seventh, detach_reset
        return right(*arguments[:6])

    monkeypatch.setattr(cpu, "backward", attached)
    dynamics._fastest.cache_clear()
    with pytest.warns(UserWarning, match="gradients are wrong"):
        assert dynamics._fastest(torch.device("cpu"), dtype) is reference
    dynamics._fastest.cache_clear()


def test_thresholds_are_rounded_to_the_type() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        for value in (1.0, 0.1, 1.3, 2.7, 1e-3, 300.3):
            assert dynamics._representable(value, dtype) == torch.tensor(value, dtype=dtype).item()
    assert dynamics._representable(0.1, torch.float32) == 0.1


def test_a_compiler_of_networks_sees_the_recursion() -> None:
    x = torch.rand(3, 2, 4, requires_grad=True)

    def step(x: Tensor) -> Tensor:
        return F.lif(x, surrogate=Triangle())

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    ours, theirs = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (compiled, step))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_classifier_trains_the_same_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = torch.compile
    compiled = []

    def quickly(function: Any) -> Any:
        compiled.append(function)
        return plain(function, backend="aot_eager")  # Inductor's C++ takes a minute

    monkeypatch.setattr(torch, "compile", quickly)
    snn, images, labels = make_snn("Tiny")
    found = []
    for option in (False, True):
        module = SNNClassifier(*copy.deepcopy((snn.encoder, snn.network)), compile=option).train()
        monkeypatch.setattr(module, "global_batch", lambda index: index)
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        module.training_step((images, labels), 0).backward()
        found.append({name: value.grad for name, value in module.named_parameters()})
        assert module.state_dict().keys() == {f"snn.{name}" for name in snn.state_dict()}
    assert len(compiled) == 1
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gradient", [STBP(), RGA()], ids=repr)
@pytest.mark.usefixtures("_compiler")
def test_networks_are_the_same_on_every_kernel(gradient, monkeypatch) -> None:
    snn, images, labels = make_snn("VGG11", timesteps=3)
    snn, images = snn.replace(gradient=gradient).double(), images.double().requires_grad_()

    def run() -> tuple[Tensor, Tensor]:
        logits = snn(images)
        loss = nn.functional.cross_entropy(logits, labels)
        return logits, torch.autograd.grad(loss, images)[0]

    fast = run()
    monkeypatch.setattr(dynamics, "_fastest", lambda *_: reference)
    slow = run()
    assert torch.equal(fast[0], slow[0])
    assert slow[1].abs().max() > 0
    torch.testing.assert_close(fast[1], slow[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("laid_out", [_contiguous, _channels_last, _samples_first])
def test_a_mean_over_time_keeps_the_layout(laid_out) -> None:
    x = laid_out(currents()).requires_grad_()
    mean = F.mean_step(x)
    torch.testing.assert_close(mean, x.mean(0, keepdim=True), rtol=0, atol=1e-15)
    channels_last = laid_out is _channels_last
    assert mean[0].is_contiguous(memory_format=torch.channels_last) == channels_last
    weight = torch.randn_like(mean)
    (grad,) = torch.autograd.grad(mean, x, weight)
    torch.testing.assert_close(grad, weight.expand_as(x) / len(x), rtol=0, atol=1e-15)
    step = _direct(x)
    assert F.mean_step(step).data_ptr() == step.data_ptr()


def test_the_gradient_of_a_repeated_step_keeps_the_layout() -> None:
    step = currents()[0].to(memory_format=torch.channels_last).requires_grad_()
    repeated = layout.every_step(step, 4)
    assert torch.equal(repeated, step.expand(4, *step.shape))
    assert repeated.data_ptr() == step.data_ptr()
    weight = _channels_last(torch.randn(repeated.shape, dtype=torch.float64))
    (grad,) = torch.autograd.grad(repeated, step, weight)
    assert grad.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(grad, weight.sum(0), rtol=0, atol=1e-14)


@pytest.mark.parametrize("gradient", [STBP(), RGA()], ids=repr)
def test_channels_last_all_the_way(gradient) -> None:
    """What a convolution takes and what it gets back is channels-last: it copies nothing."""
    snn, images, _ = make_snn("ResNet17", timesteps=2)
    snn = snn.replace(gradient=gradient)
    seen: list[bool] = []

    def look(x: Tensor) -> None:
        if min(x.shape[1:]) > 1:  # else both layouts are one
            seen.append(x.is_contiguous(memory_format=torch.channels_last))

    def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if module.in_channels > 3:  # the image itself is as the user has it
            look(inputs[0])
        if output.requires_grad:
            output.register_hook(look)

    for part in snn.network.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(hook)
    torch.autograd.grad(snn(images.requires_grad_()).square().sum(), images)
    assert len(seen) > 30
    assert all(seen)


def saved_bytes(snn: nn.Module, images: Tensor) -> int:
    """Of the tensors that the graph keeps for the backward pass, each storage once."""
    seen: dict[int, int] = {}
    keep: list[Tensor] = []
    own = {x.untyped_storage().data_ptr() for x in [*snn.parameters(), *snn.buffers()]}

    def pack(x: Tensor) -> Tensor:
        keep.append(x)
        seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        snn(images.clone().requires_grad_())
    return sum(size for address, size in seen.items() if address not in own)


def test_what_is_saved_for_the_backward_pass() -> None:
    bytes_of = {}
    for gradient, timesteps in itertools.product((STBP(), RGA()), (2, 8)):
        snn, images, _ = make_snn("VGG11", timesteps=timesteps)
        view = snn.replace(gradient=gradient, encoder=snn.encoder)
        bytes_of[type(gradient), timesteps] = saved_bytes(view, images)
    assert bytes_of[RGA, 8] == bytes_of[RGA, 2]  # constant in T
    assert bytes_of[RGA, 8] <= 0.15 * bytes_of[STBP, 8]

    current = torch.rand(8, 2, 16, requires_grad=True)
    x = F.lif(current, surrogate=Triangle()).grad_fn.saved_tensors  # type: ignore[union-attr]
    assert [tensor.shape for tensor in x] == [current.shape]  # u - threshold and nothing else


INTERPRETED = """
import itertools, torch
from snn_lightning.kernels import triton, reference
from snn_lightning.surrogates import PotentialDependent, Triangle
torch.manual_seed(0)
neurons = (
    (0.9, 1.0, "hard", 0.0, None), (0.9, 1.25, "soft", 0.5, None), (1.0, 1.0, "soft", 0.5, None),
    (0.5, 1.0, "soft", 0.0, 2.0),
)
for dtype, tolerance in (torch.float32, 1e-5), (torch.float16, 0.005):
    for (leak, threshold, reset, initial, drop), kind in itertools.product(neurons, "clde1"):
        current = torch.randn(1 if kind == "1" else 4, 2, 3, 17, 13).mul_(0.8).add_(0.4).to(dtype)
        if kind == "l":
            current = current.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        if kind == "d":
            current = current[:1].expand_as(current)
        if kind == "e":
            current = current[:, :0]
        neuron = leak, threshold, reset, initial
        spikes, x = triton.forward(current, *neuron, True, drop)
        expected = reference.forward(current, *neuron, True, drop)
        assert torch.equal(spikes, expected[0]), (dtype, neuron, kind)
        assert torch.equal(x, expected[1]), (dtype, neuron, kind)
        assert spikes.stride() == expected[0].stride()
        assert torch.equal(triton.forward(current, *neuron, False, drop)[0], spikes)
        for grad in torch.randn_like(x), torch.randn_like(x[:1]).expand_as(x):
            ours = triton.backward(x, grad, leak, threshold, reset, Triangle(), drop=drop)
            doubles = x.double(), grad.double()
            theirs = reference.backward(*doubles, leak, threshold, reset, Triangle(), drop=drop)
            error = (ours.double() - theirs).norm()
            assert error <= tolerance * theirs.norm(), (dtype, neuron, kind, detach)
try:
    triton.forward(torch.ones(1, 1, dtype=torch.float64), 0.9, 1.0, "hard", 0.0, True)
    raise AssertionError("float64 was taken")
except TypeError:
    print("interpreted")
"""


def test_the_triton_kernel_in_the_interpreter() -> None:
    """On the CPU. Gradients against float64: the kernel computes in float32, whatever the type.

    Without bfloat16, which the interpreter truncates where a GPU rounds.
    """
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "interpreted", done.stderr[-2000:]
