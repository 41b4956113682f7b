"""The peer of `inductive bench`: the same model in PyTorch, from timm where timm has it, measured in the same way.

The one argument describes the task as JSON. When the model is built, a line of JSON says so; every line `run` of the
input is answered by one round, also a line of JSON; the end of the input ends the program. f32, eager or compiled, or compiled with
operands in bf16.

This is the first part of a script: pytorch_eit.py and a call of `main` come after it.
"""

import importlib
import json
import os
import sys
import time


def load(name):
    """The module, or a line that names what is missing and exit status 3."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        tell({"missing": name, "reason": f"{type(error).__name__}: {error}"})
        sys.exit(3)


def tell(message):
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def build(spec):
    """The model, and what it is made with."""
    [(family, own)] = spec["family"].items()
    if family == "eit":
        return Eit(spec, own), f"PyTorch {torch.__version__}"
    timm = load("timm")
    return build_timm(spec, family, own), f"PyTorch {torch.__version__}, timm {timm.__version__}"


def build_resnet(spec, numbers):
    resnet = load("timm.models.resnet")
    if numbers["widths"] != [64, 128, 256, 512]:
        sys.exit(f"timm has no ResNet of widths {numbers['widths']}, only of 64, 128, 256, 512")
    block = resnet.Bottleneck if numbers["bottleneck"] else resnet.BasicBlock
    model = resnet.ResNet(block, numbers["blocks"], num_classes=spec["classes"])
    if not numbers["imagenet_stem"]:
        model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    return model


def build_convmixer(spec, mixer):
    convmixer = load("timm.models.convmixer")
    size = {"kernel_size": mixer["kernel"], "patch_size": spec["patch"], "num_classes": spec["classes"]}
    activation = torch.nn.ReLU if mixer["relu"] else torch.nn.GELU
    return convmixer.ConvMixer(spec["embed_dim"], spec["depth"], act_layer=activation, **size)


def transformer(spec, attention):
    """What timm's transformers are given alike."""
    return {
        "img_size": tuple(spec["image"]),
        "patch_size": spec["patch"],
        "num_heads": attention["heads"],
        "depth": spec["depth"],
        "mlp_ratio": attention["mlp_ratio"],
        "qkv_bias": attention["qkv_bias"],
        "num_classes": spec["classes"],
    }


def build_convit(spec, convit):
    attention = convit["attention"]
    # timm's ConViT takes the width of one head.
    width = spec["embed_dim"] // attention["heads"]
    local = convit["local_up_to_layer"]
    size = transformer(spec, attention)
    return load("timm.models.convit").ConVit(embed_dim=width, local_up_to_layer=local, **size)


def build_vit(spec, attention):
    pool = {"class_token": False, "global_pool": "avg"} if attention["pool"] == "average" else {}
    size = transformer(spec, attention)
    return load("timm.models.vision_transformer").VisionTransformer(embed_dim=spec["embed_dim"], **pool, **size)


def build_timm(spec, family, own):
    builders = {"resnet": build_resnet, "conv_mixer": build_convmixer, "convit": build_convit, "vit": build_vit}
    if family not in builders:
        sys.exit(f"timm has no model for the family {family!r}")
    return builders[family](spec, own)


def adamw(model, task):
    """AdamW with timm's rule of what does not decay: one dimension, biases, and what the model names."""
    kept = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        fixed = parameter.ndim <= 1 or name.endswith(".bias") or name in kept
        (plain if fixed else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": task["weight_decay"]},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=task["lr"], betas=tuple(task["betas"]), eps=task["eps"])


def targets(task):
    """Smoothed one-hot targets, [batch, classes]."""
    batch, classes, smoothing = task["batch"], task["spec"]["classes"], task["smoothing"]
    labels = torch.arange(batch) % classes
    soft = torch.full((batch, classes), smoothing / classes)
    soft[torch.arange(batch), labels] += 1.0 - smoothing
    return soft


def following(step, group):
    """So many steps without a pause, on a device that computes on while the clock is read: seconds of one."""

    def steps():
        start = time.perf_counter()
        for _ in range(group):
            step()
        torch.cuda.synchronize()
        return ((time.perf_counter() - start) / group,)

    return steps


def training_step_on_gpu(model, optimizer, images, soft, amp):
    """Images and targets come from the host's memory in every step, pinned."""
    images, soft, device = images.pin_memory(), soft.pin_memory(), torch.cuda.current_device()

    def step():
        on_gpu, targets = images.to(device, non_blocking=True), soft.to(device, non_blocking=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=amp):
            loss = torch.nn.functional.cross_entropy(model(on_gpu), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def training_step(model, optimizer, images, soft, amp):
    def step():
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss = torch.nn.functional.cross_entropy(model(images), soft)
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        return forward - start, backward - forward, time.perf_counter() - backward

    return step


def inference_step(model, images, amp):
    def step():
        start = time.perf_counter()
        with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, enabled=amp):
            model(images)
        return (time.perf_counter() - start,)

    return step


def measure(step, task):
    """One round: milliseconds of each phase of every step."""
    for _ in range(task["warm_up"]):
        step()
    steps, start = [], time.perf_counter()
    while len(steps) < task["fewest"] or time.perf_counter() - start < task["seconds"]:
        steps.append(step())
    phases = [[1e3 * seconds for seconds in phase] for phase in zip(*steps)]
    return dict(zip(["forward", "backward", "optimizer"], phases + [[]] * (3 - len(phases))))


def peak_rss_mib():
    """The most memory this process has had, where Linux says it."""
    try:
        with open("/proc/self/status") as status:
            kib = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
        return int(kib) / 1024
    except (OSError, StopIteration):
        return None


def main():
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    if task["device"] != "cpu":
        torch.cuda.set_device(task["device"])
        # Products are in f32 by default, convolutions are not.
        torch.backends.cudnn.allow_tf32 = task["variant"] == "amp"
    model, software = build(task["spec"])
    model, images = model.to(task["device"]), torch.randn(task["batch"], 3, *task["spec"]["image"])
    on_gpu, amp = task["device"] != "cpu", task["variant"] == "amp"
    called = model if task["variant"] == "eager" else torch.compile(model)
    if task["mode"] == "training":
        model.train()
        stepping = training_step_on_gpu if on_gpu else training_step
        step = stepping(called, adamw(model, task), images, targets(task), amp)
    else:
        model.eval()
        step = inference_step(called, images.to(task["device"]), amp)
    if task["variant"] != "eager":
        software += f", {task['variant']}"
    if on_gpu:
        step = following(step, task["group"])
        software += f" on {torch.cuda.get_device_name()}"
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    tell({"parameters": parameters, "software": software})
    for line in sys.stdin:
        if line.strip() == "run":
            phases = measure(step, task)
            tell({**phases, "peak_rss_mib": peak_rss_mib()})


# What modules print on their own account must not get between the answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
torch = load("torch")
