# Compares timm's `model` with what ours.safetensors holds; the lines that make and load it come before.
theirs = {}
block = model.blocks[0].attn
block.fused_attn = False
block.attn_drop.register_forward_pre_hook(lambda _, given: theirs.update(attention=given[0]))
ours = safetensors.torch.load_file("ours.safetensors")
theirs["logits"] = model.eval()(ours["image"]).detach()
for name, limit in [("attention", 1e-5), ("logits", 1e-4)]:
    difference = (ours[name] - theirs[name].detach()).abs().max().item()
    print(f"{name} {list(ours[name].shape)} differs by {difference:.1e}", end="; ")
    assert difference < limit, name
