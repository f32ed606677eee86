"""What the scripts of runs that nobody fitted share: models, checks of a row, and the file they write."""
import gzip
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEAK = {"V100": 125e12, "RTX 4090": 165e12, "A100": 312e12, "A800": 312e12, "H100": 989e12, "H200": 989e12, "H800": 989e12,
        "B200": 2250e12, "B300": 2250e12, "GB200": 2450e12, "GB300": 2450e12, "MI300X": 1307e12, "MI350X": 2300e12,
        "MI355X": 2500e12}  # 16 bits, FLOP/s
RUNS = []


def dense(name, layers, hidden, heads, seq, stated=None, kv=None, ffn=None, gated=False, vocab=51200, head_dim=None):
    kv, ffn = kv or heads, ffn or 4 * hidden
    model = {"name": name, "type": "dense", "layers": layers, "hidden": hidden, "heads": heads, "kv_heads": kv,
             "head_dim": head_dim or hidden // heads, "ffn_hidden": ffn, "gated_mlp": gated, "vocab": vocab, "seq_len": seq}
    if stated:  # in 10^9; embedding and head may be one
        counts = [parameters(model, embeddings) / 1e9 for embeddings in (1, 2)]
        assert min(abs(count / stated - 1) for count in counts) < 0.04, (name, counts, stated)
    return model


def mixture(name, layers, hidden, heads, seq, kv, experts, top_k, ffn, vocab, shared=0, **more):
    model = dense(name, layers, hidden, heads, seq, kv=kv, ffn=ffn, gated=True, vocab=vocab, head_dim=more.get("head_dim"))
    return {**model, "type": "moe", "num_experts": experts, "top_k": top_k, "moe_ffn_hidden": ffn,
            "shared_experts": shared, **more}


def parameters(model, embeddings=1):
    hidden, share = model["hidden"], model["kv_heads"] / model["heads"]
    products = (3 if model["gated_mlp"] else 2) * hidden * model["ffn_hidden"]
    if model["type"] == "moe":  # those that a token meets
        products = 3 * hidden * model["moe_ffn_hidden"] * (model["top_k"] + model["shared_experts"])
    width = model["heads"] * model["head_dim"]
    return model["layers"] * (hidden * width * (2 + 2 * share) + products) + embeddings * hidden * model["vocab"]


def model_flops(model):
    """Of a token, forward and backward, attention of the lower triangle."""
    return 6 * parameters(model) + 6 * model["layers"] * model["heads"] * model["head_dim"] * model["seq_len"]


def add(identity, source, where, gpu, gpus, model, precision, layout, micro, batch, framework, seconds, time_from, *,
        assumed=(), per_node=8, **more):
    """A row of RUNS; no seconds: it ran out of memory."""
    tp, pp, dp, cp, ep = (layout.get(key, 1) for key in ("tp", "pp", "dp", "cp", "ep"))
    assert tp * pp * dp * cp == gpus, (identity, tp, pp, dp, cp, gpus)
    if seconds:
        used = model_flops(model) * model["seq_len"] * batch / gpus / seconds
        eight, four = ("8" in precision and "16" not in precision), "4" in precision
        limit = PEAK[next(name for name in sorted(PEAK, key=len, reverse=True) if name in gpu)]
        assert used < 0.75 * limit * (4 if four else 2 if eight else 1), (identity, used)
    run = {"id": identity, "source": source, "where": where, "status": "ok" if seconds else "oom", "gpu": gpu,
           "gpus": gpus, "gpus_per_node": per_node, "internode_gbit_per_s_per_node": None, "model": model,
           "precision": precision, "tp": tp, "pp": pp, "dp": dp, "cp": cp, "ep": ep, "etp": layout.get("etp"), "vpp": 1,
           "sequence_parallel": False, "zero_stage": 0, "sharding": None, "recompute": None,
           "attention_kernel": None, "schedule": None, "micro_batch": micro, "global_batch": batch,
           "framework": framework, "framework_version": None, "task": "pretrain", "uneven_pipeline": None,
           "assumed": list(assumed), "suspect": None, "iteration_time_s": float(f"{seconds:.6g}") if seconds else None,
           "time_from": time_from, "peak_memory_gb": None}
    unknown = set(more) - set(run)
    assert not unknown, unknown
    RUNS.append({**run, **more})


def counted_attention(model):
    """Times from printed FLOP/s hang on how attention was counted where it is most of the work."""
    attention = 12 * model["layers"] * model["hidden"] * model["seq_len"]
    if attention < whole_square(model) / 3:
        return None
    return "a third of the work or more is attention, and whether all of its square is counted is not stated"


def whole_square(model):
    """Megatron-LM's FLOPs of a token: attention counted without the causal mask."""
    return model_flops(model) + 6 * model["layers"] * model["hidden"] * model["seq_len"]


LLAMA2_13B = dense("Llama 2 13B", 40, 5120, 40, 4096, 13.0, ffn=13824, gated=True, vocab=32000)
LLAMA2_70B = dense("Llama 2 70B", 80, 8192, 64, 4096, 69.0, kv=8, ffn=28672, gated=True, vocab=32000)
LLAMA3_70B = dense("Llama 3 70B", 80, 8192, 64, 8192, 70.6, kv=8, ffn=28672, gated=True, vocab=128256)


def llama2_7b(seq):
    return dense("Llama 2 7B", 32, 4096, 32, seq, 6.74, ffn=11008, gated=True, vocab=32000)


def llama3_8b(seq):
    return dense("Llama 3 8B", 32, 4096, 32, seq, 8.03, kv=8, ffn=14336, gated=True, vocab=128256)


def llama3_405b(seq):
    return dense("Llama 3.1 405B", 126, 16384, 128, seq, 405, kv=8, ffn=53248, gated=True, vocab=128256)


def write(file, tables):
    """Fills RUNS from the tables and writes tests/data/measured/FILE, or the file named on the command line."""
    for table in tables:
        table()
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/measured" / file
    lines = "[\n" + ",\n".join(json.dumps(run) for run in RUNS) + "\n]\n"
    target.write_bytes(gzip.compress(lines.encode(), mtime=0))
    print(f"{len(RUNS)} runs, {sum(1 for run in RUNS if run['suspect'])} suspect: {target}")
