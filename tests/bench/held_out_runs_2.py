#!/usr/bin/env python3
"""Writes tests/data/measured/held_out_runs_2.json.gz: the second set of measured runs that nobody fitted.

    tests/bench/held_out_runs_2.py [FILE]

Collected on 21 November 2026; rows, assumptions and doubts were fixed before any of them was priced. The tables below
hold what the sources print; every row says where. What a source does not state is listed in `assumed`. Parameters are
checked against the stated size, and no run may use 75 % of a GPU's peak.
"""
from measured_tables import (LLAMA2_13B, LLAMA2_70B, LLAMA3_70B, add, dense, llama2_7b, llama3_8b, mixture, parameters,
                             whole_square, write)

A100, A100_40, H100 = "A100-SXM4-80GB", "A100-SXM4-40GB", "H100-SXM5-80GB"
PRINTED = "measured, printed"
PER_GPU = "tokens/s of a GPU, printed; batch x sequence/(GPUs x that)"
TOTAL = "tokens/s of all GPUs, printed; batch x sequence/that"
SAMPLES = "samples/s, printed; batch/that"


def of_gpu(tokens_per_second, model, batch, gpus):
    return batch * model["seq_len"] / gpus / tokens_per_second


def of_all(tokens_per_second, model, batch):
    return batch * model["seq_len"] / tokens_per_second


def gpt(name, layers, hidden, heads, seq, stated, vocab=50257):
    return dense(name, layers, hidden, heads, seq, stated, vocab=vocab)


def llama_7b(seq, vocab=32000, stated=6.74):
    return dense("LLaMA-7B", 32, 4096, 32, seq, stated, ffn=11008, gated=True, vocab=vocab)


GPT2 = {"124M": gpt("GPT-2 124M", 12, 768, 12, 1024, 0.124, 50304),
        "350M": gpt("GPT-2 350M", 24, 1024, 16, 1024, 0.354, 50304),
        "774M": gpt("GPT-2 774M", 36, 1280, 20, 1024, 0.773, 50304),
        "1558M": gpt("GPT-2 1558M", 48, 1600, 25, 1024, 1.557, 50304)}


def internlm():
    model = llama_7b(2048, 103168, 7.32)
    group = "optimizer states are divided within a group of {} GPUs only, which a run cannot say"
    # name, tensor, microbatch, accumulated, group of ZeRO-1 (0: all), recompute, {GPUs: tokens/s of a GPU}
    counts = (8, 16, 32, 64, 128, 256, 512, 1024)
    table = [("tp1", 1, 2, 4, 0, "none", dict(zip(counts, (4062, 3842, 3752, 3690, 3571, 3209, 2861, 2271)))),
             ("tp2", 2, 4, 4, 0, "none", dict(zip(counts, (3822, 3595, 3475, 3438, 3308, 3094, 2992, 2785)))),
             ("ckpt", 1, 8, 1, 8, "full", {8: 3314, 64: 3217, 512: 3199}),
             ("tp1-zero8", 1, 2, 4, 8, "none", {64: 3944, 512: 3835}),
             ("tp2-zero4", 2, 4, 4, 4, "none", {64: 3650})]
    for name, tp, micro, accumulated, zero, recompute, rates in table:
        for gpus, rate in rates.items():
            batch = micro * accumulated * gpus // tp
            add(f"internlm-{name}-{gpus}", "InternLM training performance",
                f"github InternLM/InternLM@20fe5ac:doc/en/train_performance.md, {name}, {gpus} GPUs", A100, gpus, model,
                "bf16", {"tp": tp, "dp": gpus // tp}, micro, batch, "InternLM", of_gpu(rate, model, batch, gpus),
                PER_GPU, assumed=["bf16", "microbatches as the page's configuration names them"], zero_stage=1,
                recompute=recompute, attention_kernel="flash", internode_gbit_per_s_per_node=400,
                suspect=group.format(zero) if zero and zero < gpus else None)


def jax_toolbox():
    models = {"126M": (gpt("GPT 126M", 12, 768, 12, 2048, 0.126, 50304), 64, 4),
              "5B": (gpt("GPT 5B", 24, 4096, 32, 2048, 5.0, 50304), 256, 8),
              "175B": (gpt("GPT 175B", 96, 12288, 96, 2048, 175), 256, 6)}
    table = [("A100", A100, "bf16", "torch", (1877.20, 465.45, 18.29)),
             ("A100-TE", A100, "bf16", "TE", (2512.2, 586.82, 19.47)),
             ("H100-TE", H100, "bf16", "TE", (4143.21, 1066.67, 44.01)),
             ("H100-TE-FP8", H100, "FP8", "TE", (None, 1288.05, 65.64))]
    for name, gpu, precision, kernel, rates in table:
        for (size, (model, gpus, each)), rate in zip(models.items(), rates):
            if not rate:
                continue
            add(f"jax-toolbox-{name}-{size}", "NVIDIA JAX-Toolbox Pax README",
                f"github NVIDIA/JAX-Toolbox@12d19d5:rosetta/rosetta/projects/pax/README.md, {name}, {size}", gpu, gpus,
                model, precision, {"dp": gpus}, each, each * gpus, "Pax (paxml)", each * gpus / rate,
                "sequences/s, printed; batch/that", zero_stage=3 if size != "126M" else 0, attention_kernel=kernel,
                sharding="FSDP over all" if size != "126M" else None,
                internode_gbit_per_s_per_node=1600 if gpu == A100 else 3200,
                assumed=["network of a DGX host", "recompute as memory asks", "shapes of paxml's configs.py"]
                + (["scores kept without Transformer Engine"] if kernel == "torch" else []))


def dgx_cloud():
    models = {"5b": (gpt("GPT 5B", 24, 4096, 32, 2048, 5.0, 51200), 4),
              "175b": (gpt("GPT 175B", 96, 12288, 96, 2048, 175, 51200), 2)}
    table = [("5b", "FP8", {16: 0.47, 32: 0.48, 64: 0.48, 128: 0.5}),
             ("5b", "bf16", {16: .634, 32: .639, 64: .643, 128: .651}),
             ("175b", "FP8", {128: 7.47, 256: 7.58, 512: 7.60, 1024: 7.89, 2048: 8.02})]
    for size, precision, times in table:
        model, each = models[size]
        for gpus, seconds in times.items():
            add(f"dgxc-pax-{size}-{precision}-{gpus}", "NVIDIA DGX Cloud benchmarking, PaxML recipes",
                f"github NVIDIA/dgxc-benchmarking@143b90d:paxml/README_{size}.md, {precision}, {gpus} GPUs", H100, gpus,
                model, precision, {"dp": gpus}, each, each * gpus, "Pax (paxml)", seconds, PRINTED, zero_stage=3,
                sharding="FSDP", attention_kernel="TE",
                assumed=["parameters divided over all GPUs", "recompute as memory asks"])
    model = dense("Nemotron-4 340B", 96, 18432, 96, 4096, 341, kv=8, ffn=73728, vocab=256000)
    add("dgxc-nemotron4-340b-128", "NVIDIA DGX Cloud benchmarking, Nemotron-4 340B example",
        "github NVIDIA/dgxc-benchmarking@80634ad:nemotron4-340b/README.md, example of 128 GPUs", "B200-SXM", 128, model,
        "FP8", {"tp": 8, "pp": 4, "dp": 4}, 1, 512, "NeMo", 21.542, PRINTED, vpp=12, sequence_parallel=True,
        zero_stage=1, attention_kernel="TE", schedule="interleaved 1F1B",
        assumed=["B200: only its table has 128 GPUs", "sequence parallelism", "ZeRO-1"])


def nemo_launcher():
    five, large = gpt("GPT 5B", 24, 4096, 32, 2048, 5.0, 51200), gpt("GPT 175B", 96, 12288, 96, 2048, 175, 51200)
    table = [("5b@00af8f2", five, 1, 1, 4, {1: 40345, 2: 79815, 4: 161754, 8: 312774, 16: 659481, 32: 1159288}),
             ("175b@056a90e", large, 4, 8, 1, {8: 7500, 16: 14950, 32: 29537, 64: 58211, 128: 109684})]
    for file, model, tp, pp, micro, rates in table:
        for nodes, rate in rates.items():
            gpus = 8 * nodes
            add(f"nemo-launcher-{model['name'][4:]}-{gpus}", "NeMo Framework Launcher README",
                f"github NVIDIA/NeMo-Framework-Launcher@003d7e6:README.md, 7.1.2, {model['name']}, {nodes} nodes", A100,
                gpus, model, "bf16", {"tp": tp, "pp": pp, "dp": gpus // tp // pp}, micro, 2048, "NeMo",
                of_all(rate, model, 2048), TOTAL, zero_stage=1, vpp=12 if pp > 1 else 1, sequence_parallel=tp > 1,
                schedule="interleaved 1F1B" if pp > 1 else None, recompute="selective" if tp > 1 else None,
                internode_gbit_per_s_per_node=1600, framework_version="23.07",
                assumed=[f"layout, microbatch and batch of conf/training/gpt3/{file}.yaml", "network of a DGX host"],
                suspect="the page states neither layout nor batch of its table")


def bionemo():
    table = [("8xB200", "4fab9a3", 4096, 1, ("MXFP8", .755, .719, .717, .843), ("bf16", 1.083, .962, 1.013, 1.237)),
             ("8xB300", "f89103b", 8192, 2, ("MXFP8", 1.467, 1.193, 1.147, 1.263), ("bf16", 2.457, 1.897, 1.89, 2.083))]
    for machine, commit, seq, micro, *rows in table:
        model = mixture("Mixtral 8x7B", 32, 4096, 32, seq, 8, 8, 2, 14336, 32000)
        for precision, *times in rows:
            for ep, seconds in zip((8, 4, 2, 1), times):
                add(f"bionemo-mixtral-{machine}-{precision}-ep{ep}", "NVIDIA BioNeMo Mixtral recipe",
                    f"github NVIDIA-BioNeMo/bionemo-framework@{commit}:recipes/mixtral_native_te/benchmarks/"
                    f"mixtral_8x7b_{machine}.csv, {precision}, EP {ep}", machine[2:] + "-SXM", 8, model, precision,
                    {"dp": 8, "ep": ep}, micro, 8 * micro, "PyTorch FSDP (BioNeMo, Transformer Engine)", seconds,
                    PRINTED, zero_stage=3, sharding="FSDP2", attention_kernel="TE",
                    assumed=["FSDP2 over all GPUs", "recompute as memory asks"]
                    + (["packed documents count as whole samples"] if micro == 2 else []),
                    suspect="step time x tokens/s is 5215 tokens of a GPU, the page says 4096" if micro == 1 else None)


def mosaic_examples():
    """Of the table's first 75 rows those whose sha256("size-sequence-GPUs") is a multiple of four, but 70b-2048-64: the
    later llm-foundry table, which is fitted, repeats it."""
    shapes = {"30b": (48, 7168, 56), "13b": (40, 5120, 40), "7b": (32, 4096, 32), "3b": (32, 2560, 20),
              "1b": (24, 2048, 16), "760m": (24, 1536, 12), "350m": (24, 1024, 16)}
    # size-sequence-GPUs, tokens/s of all, microbatch, batch
    table = """30b-8192-8 4977 1 168, 30b-2048-64 56126 16 3072, 30b-2048-8 6305 3 504,
        13b-8192-8 13531 5 120, 13b-2048-64 127624 32 2048, 13b-2048-16 32291 24 384, 13b-512-8 17521 80 1920,
        7b-4096-8 27973 16 256, 7b-1024-8 32243 64 1024, 3b-4096-8 74388 5 240, 1b-4096-8 140767 7 224,
        760m-2048-32 972497 24 768, 760m-2048-16 488871 24 384, 760m-512-8 293755 96 1536, 350m-16384-8 187535 4 64,
        350m-512-8 560858 128 2048"""
    for line in table.split(","):
        case, rate, micro, batch = line.split()
        size, seq, gpus = case.split("-")
        model = dense(f"MosaicGPT {size}", *shapes[size], int(seq), vocab=50368)
        add(f"mosaic-examples-{case}", "MosaicML examples, LLM throughput table",
            f"github mosaicml/examples@3bbda73:examples/llm/throughput/README.md, A100 80GB, {case}", A100, int(gpus),
            model, "bf16", {"dp": int(gpus)}, int(micro), int(batch), "MosaicML examples (Composer)",
            of_all(float(rate), model, int(batch)), TOTAL, zero_stage=3,
            sharding="PyTorch FSDP FULL_SHARD, MP mode PURE",
            recompute="full" if size in ("30b", "13b", "7b") else "none", attention_kernel="flash (triton FA)",
            internode_gbit_per_s_per_node=1600,
            assumed=["shapes of the examples' configurations", "network of 1600 Gb/s"])


def colossal():
    model = llama_7b(4096)
    add("colossal-llama-7b-32", "ColossalAI LLaMA README",
        "github hpcaitech/ColossalAI@068372a:examples/language/llama2/README.md, 32 A800", "A800-SXM4-80GB", 32, model,
        "bf16", {"dp": 32}, 16, 512, "Colossal-AI (Gemini)", 512 / 24.26, SAMPLES, zero_stage=3, sharding="Gemini",
        recompute="full", attention_kernel="flash", peak_memory_gb=54.19,
        assumed=["A800 SXM4 of 80 GB"],
        suspect="the text names a model of 65B, its FLOP/s are those of 7B, which is taken")
    model = gpt("GPT2-XL", 48, 1600, 25, 1024, 1.557)
    for name, framework, zero, each, rate in (("ddp", "PyTorch DDP (Lightning)", 0, 6, 11.76),
                                              ("deepspeed", "DeepSpeed (Lightning)", 3, 40, 18.18),
                                              ("colossalai", "Colossal-AI (Lightning)", 3, 40, 19.36)):
        add(f"colossal-lightning-{name}", "ColossalAI-Pytorch-lightning GPT benchmark",
            f"github hpcaitech/ColossalAI-Pytorch-lightning@211e8be:benchmark/gpt/README.md, {name}", A100_40, 4, model,
            "fp16", {"dp": 4}, each, 4 * each, framework, 4 * each / rate, SAMPLES, per_node=4, zero_stage=zero,
            assumed=["sequence of 1024", "fp16", "recompute as memory asks"],
            suspect="the sequence's length is not stated")


def gpt2_trainers():
    table = [("124M", "039904e", 64, 512, 0.300, A100), ("350M", "100bba0", 64, 512, 0.820, A100),
             ("774M", "039904e", 32, 512, 1.7, A100), ("1558M", "039904e", 16, 1024, 2.80, H100)]
    for size, commit, micro, batch, seconds, gpu in table:
        add(f"llmc-{size}", "llm.c scripts", f"github karpathy/llm.c@{commit}:scripts/run_gpt2_{size}.sh, head", gpu, 8,
            GPT2[size], "bf16", {"dp": 8}, micro, batch, "llm.c", seconds, "measured, printed with two or three digits",
            zero_stage=1, recompute="none", attention_kernel="flash (cuDNN)",
            assumed=["SXM", "cuDNN attention and ZeRO-1 as in the script"])
    work = 6 * 123.6e6 + 12 * 12 * 768 * 1024  # nanoGPT's estimate of a token's FLOPs
    table = [(110, A100, 8, "bf16", 0.562, PRINTED, ["80 GB"]),
             (215, "V100-32GB-SXM2", 1, "fp16", 1.097, PRINTED, ["SXM2"]),
             (182, "NVIDIA GeForce RTX 4090", 1, "bf16", work * 61440 / 0.29 / 312e12,
              "29 % of 312 TFLOP/s, printed; nanoGPT's (6 N + 12 L H Q T) tokens/that, N of 123.6e6", ["bf16"])]
    for issue, gpu, gpus, precision, seconds, formula, assumed in table:
        add(f"nanogpt-{issue}", "nanoGPT issues", f"github karpathy/nanoGPT/issues/{issue}", gpu, gpus, GPT2["124M"],
            precision, {"dp": gpus}, 12, 60 * gpus, "nanoGPT", seconds, formula, recompute="none",
            attention_kernel="flash",
            assumed=[*assumed, "microbatch of 12, five accumulated: the defaults", "torch.compile"])
    add("romero-speedrun-1", "Tyler Romero, NanoGPT speedrun worklog",
        "tyler-romero.github.io, posts on the speedrun, row 1", "NVIDIA GeForce RTX 4090", 2, GPT2["124M"], "bf16",
        {"dp": 2}, 32, 256, "nanoGPT (llm.c's train_gpt2.py)", of_all(221e3, GPT2["124M"], 256), TOTAL,
        recompute="none", attention_kernel="flash", per_node=2, assumed=["two GPUs in one host", "bf16"])


def flagperf_megatron():
    a800, h800, llama3 = "A800-SXM4-80GB", "NVIDIA H800", llama3_8b(8192)
    mixtral = mixture("Mixtral 8x7B", 32, 4096, 32, 4096, 8, 8, 2, 14336, 32000)
    qwen = mixture("Qwen1.5-MoE", 24, 2048, 16, 8192, 16, 60, 4, 1408, 151936, shared=4)
    core = {"framework": "Megatron-Core", "attention_kernel": "TE", "internode_gbit_per_s_per_node": 200}
    selective = {**core, "recompute": "selective", "framework_version": "core_v0.6.0"}
    wide = {**core, "recompute": "selective", "internode_gbit_per_s_per_node": 400}
    flagscale = {**core, "framework": "Megatron-LM (FlagScale)", "attention_kernel": "flash"}
    no_degree = {**core, "suspect": "degree of expert parallelism not stated"}
    # folder@commit; GPUs, model, precision, (tp, pp, dp, ep), microbatch, batch, tokens/s of a GPU
    table = [("llama3_8B-megatron@0e0fc76", a800, 8, llama3, "bf16", (1, 2, 4, 1), 1, 512, 3698.7, selective),
             ("llama3_8B-megatron@0e0fc76", H100, 8, llama3, "bf16", (2, 1, 4, 1), 1, 512, 8103, selective),
             ("llama3_8B-megatron@0e0fc76", H100, 8, llama3, "FP8", (2, 1, 4, 1), 1, 512, 10486, selective),
             ("llama3_8B-megatron@0e0fc76", H100, 16, llama3, "bf16", (2, 1, 8, 1), 1, 512, 7914, selective),
             ("llama3_8B-megatron@0e0fc76", H100, 16, llama3, "FP8", (2, 1, 8, 1), 1, 512, 10280, selective),
             ("llama3_70B-megatron@61ac079", H100, 64, LLAMA3_70B, "bf16", (8, 4, 2, 1), 1, 512, 851, wide),
             ("mixtral_8x7B-megatron@68d2944", H100, 32, mixtral, "bf16", (8, 2, 2, 1), 3, 1200, 2844.0, wide),
             ("llama2_70B-megatron@0171aca", h800, 32, LLAMA2_70B, "bf16", (8, 4, 1, 1), 1, 44, 641.93, flagscale),
             ("llama2_70B-megatron@0171aca", h800, 32, LLAMA2_70B, "bf16", (4, 8, 1, 1), 1, 44, 791.37, flagscale),
             ("qwen1.5_MoE-megatron@32f1a7a", a800, 8, qwen, "bf16", (1, 2, 4, 4), 1, 512, 7450.7, no_degree),
             ("qwen1.5_MoE-megatron@32f1a7a", a800, 8, qwen, "fp16", (1, 2, 4, 4), 1, 512, 7537.7, no_degree)]
    for place, gpu, gpus, model, precision, (tp, pp, dp, ep), micro, batch, rate, more in table:
        folder, commit = place.split("@")
        name = f"{gpu.split()[-1].split('-')[0]}-{gpus}-{precision}-tp{tp}"
        framework = more["framework"]
        rest = {key: value for key, value in more.items() if key != "framework"}
        add(f"flagperf-{folder}-{name}", "FlagPerf training cases",
            f"github FlagOpen/FlagPerf@{commit}:training/nvidia/{folder}/README.md, {name}", gpu, gpus, model,
            precision, {"tp": tp, "pp": pp, "dp": dp, "ep": ep}, micro, batch, framework,
            of_gpu(rate, model, batch, gpus), PER_GPU, zero_stage=1, sequence_parallel=tp > 1,
            schedule="1f1b" if pp > 1 else None, **rest,
            assumed=["SXM of 80 GB where the page says less", "distributed optimizer", "fused attention"]
            + (["recompute-activations is selective"] if "recompute" in more else ["recompute as memory asks"])
            + ([f"experts over {ep} GPUs"] if ep > 1 else []) + (["sequence parallelism"] if tp > 1 else []))


def flagperf_others():
    baichuan = dense("Baichuan 2 13B", 40, 5120, 40, 2048, 13.9, ffn=13696, gated=True, vocab=125696)
    chatglm = dense("ChatGLM3-6B", 28, 4096, 32, 4096, 6.24, kv=2, ffn=13696, gated=True, vocab=65024)
    h800, small = "NVIDIA H800", llama2_7b(4096)
    # folder@commit, GPU, GPUs, model, tensor, ZeRO, batch, framework, tokens/s of a GPU, recompute, attention
    megatron = "Megatron-DeepSpeed"
    table = [("llama2_7b-megatron-deepspeed@0f139fc", A100_40, 8, small, 4, 1, 64, megatron, 2868, None, "flash"),
             ("llama2_7b-deepspeed@63c6814", h800, 8, small, 1, 3, 8, "DeepSpeed", 7151, None, "flash_attention2"),
             ("baichuan2_13b-deepspeed@0ed3fd0", h800, 16, baichuan, 1, 1, 128, "DeepSpeed", 2068, "full", "torch"),
             ("baichuan2_13b-deepspeed@0ed3fd0", h800, 16, baichuan, 1, 1, 1024, "DeepSpeed", 2710, "full", "torch"),
             ("chatglm3_6b-deepspeed@055c966", H100, 8, chatglm, 1, 3, 8, "DeepSpeed", 8429.22, None, "flash")]
    for place, gpu, gpus, model, tp, zero, batch, framework, rate, recompute, kernel in table:
        folder, commit = place.split("@")
        add(f"flagperf-{folder}-{batch}", "FlagPerf training cases",
            f"github FlagOpen/FlagPerf@{commit}:training/nvidia/{folder}/README.md, {gpus} GPUs, batch {batch}", gpu,
            gpus, model, "bf16", {"tp": tp, "dp": gpus // tp}, 1, batch, framework, of_gpu(rate, model, batch, gpus),
            PER_GPU, zero_stage=zero, recompute=recompute, attention_kernel=kernel, internode_gbit_per_s_per_node=200,
            assumed=["bf16", "SXM of 80 GB where the page says less"]
            + ([] if recompute else ["recompute as memory asks"]) + (["ZeRO-1"] if tp > 1 else []))
    # GPU, tensor, pipeline, ZeRO, microbatch, recompute, samples/s
    table = [(A100, 1, 1, 2, 4, "none", 16.67), (A100, 2, 1, 1, 4, "none", 15.19), (A100, 2, 1, 2, 4, "none", 14.26),
             (A100, 2, 4, 1, 4, "none", 14.54), (A100_40, 1, 1, 2, 2, "full", 10.72),
            (A100_40, 2, 1, 1, 2, "full", 8.45), (A100_40, 2, 1, 2, 2, "full", 8.44),
            (A100_40, 2, 4, 1, 2, "full", 8.72)]
    model = llama_7b(2048)
    for gpu, tp, pp, zero, micro, recompute, rate in table:
        add(f"flagperf-llama1_7B-paddle-{gpu[-4:]}-tp{tp}pp{pp}zero{zero}", "FlagPerf training cases",
            "github FlagOpen/FlagPerf@20ce265:training/nvidia/llama1_7B-paddle/README.md, "
            f"{gpu}, TP{tp} PP{pp} sharding stage {zero}", gpu, 8, model, "fp16",
            {"tp": tp, "pp": pp, "dp": 8 // tp // pp}, micro, 2048, "PaddleNLP", 2048 / rate, SAMPLES,
            framework_version="2.5.1", zero_stage=zero if pp == 1 else 0, recompute=recompute, attention_kernel="flash",
            schedule="1f1b" if pp > 1 else None,
            assumed=["2048 samples in a step: microbatches times accumulation; the page speaks of 2M tokens",
                     "precision O2 is fp16 products"])


def torchao_and_torchtitan():
    model = llama3_8b(8192)
    table = [(H100, "bf16", 6150, 47.65), (H100, "float8-tensorwise", 7689.5, 47.77),
             (H100, "float8-rowwise", 6768, 47.79), ("MI300X", "bf16", 5376.5, 39.09),
             ("MI300X", "float8-tensorwise", 6166.0, 39.07), ("MI300X", "float8-rowwise_with_gw_hp", 6100.0, 39.32),
             ("MI300X", "float8-rowwise", 5891.0, 39.32)]
    for gpu, precision, rate, memory in table:
        name = gpu.split("-")[0]
        add(f"torchao-{name}-{precision}", "torchao float8 training README",
            f"github pytorch/ao@9519beb:torchao/float8/README.md, table of 8 {name}, {precision}", gpu, 8, model,
            precision, {"dp": 8}, 1, 8, "torchtitan", of_gpu(rate, model, 8, 8), PER_GPU + "; median", zero_stage=3,
            sharding="FSDP2", recompute="selective", peak_memory_gb=memory,
            framework_version="0.0.2" if gpu == H100 else "2c8b594",
            assumed=["SXM of 80 GB or OAM", "tokens/s are those of a GPU"])
    model = llama3_8b(4096)
    table = [("eager", "bf16", 4495.0), ("compile", "bf16", 5033.8), ("compile", "float8", 5768.6)]
    for name, precision, rate in table:
        add(f"torchtitan-778-{name}-{precision}", "torchtitan issues",
            f"github pytorch/torchtitan/pull/778, {name}, {precision}", H100, 8, model, precision, {"dp": 8}, 1, 8,
            "torchtitan", of_gpu(rate, model, 8, 8), PER_GPU, zero_stage=3, sharding="FSDP2", recompute="none",
            peak_memory_gb=28.07 if name == "eager" else None, assumed=["eight GPUs, SXM"],
            suspect="commands say eight GPUs, the text four")
    model = llama3_8b(8192)
    for precision, rate in (("bf16", 5378), ("float8-rowwise", 5189)):
        add(f"torchtitan-1207-{precision}", "torchtitan issues", f"github pytorch/torchtitan/issues/1207, {precision}",
            H100, 4, model, precision, {"tp": 2, "dp": 2}, 1, 2, "torchtitan", of_gpu(rate, model, 2, 4), PER_GPU,
            zero_stage=3, sharding="FSDP2", sequence_parallel=True, recompute="selective",
            assumed=["one sample of 8192 for each replica", "SXM"], suspect="the batch is not stated")


def others_on_llama():
    model = llama3_8b(8192)
    for precision, rate in (("bf16", 21618), ("FP8", 29567), ("MXFP8", 28432), ("NVFP4", 35578)):
        add(f"vuiseng9-{precision}", "vuiseng9 nemo-perf-nvfp4",
            f"github vuiseng9/nemo-perf-nvfp4@13bdb29:README.md, {precision}", "B200-SXM", 8, model, precision,
            {"dp": 8}, 2, 128, "NeMo", of_gpu(rate, model, 128, 8), PER_GPU, zero_stage=1, framework_version="25.09",
            attention_kernel="TE", assumed=["ZeRO-1", "recompute as memory asks"])
    table = {1: (3550.48, 3461.64, 3204.21), 2: (6346.00, 6182.59, 5772.91), 4: (12688.44, 12249.74, 11463.46)}
    for gpus, rates in table.items():
        for (seq, each), rate in zip(((2048, 8), (4096, 4), (8192, 2)), rates):
            model = llama3_8b(seq)
            add(f"vectorlm-{gpus}-{seq}", "VectorLM reference throughput",
                f"github VectorInstitute/vectorlm@0703e07:docs/reference_throughput.md, full rank, {gpus} GPUs, {seq}",
                A100, gpus, model, "bf16", {"dp": gpus}, each, each * gpus, "PyTorch FSDP (VectorLM)",
                of_all(rate, model, each * gpus), TOTAL, zero_stage=3 if gpus > 1 else 0,
                sharding="FSDP" if gpus > 1 else None, recompute="full", per_node=4, attention_kernel="flash",
                assumed=["AdamW with all in bf16, as one GPU holds it", "a step is one microbatch",
                         "recompute and attention of profiling/configs/benchmark.yaml"])
    model = llama2_7b(4096)
    fsdp = "PyTorch FSDP (lightning-thunder benchmark_litgpt)"
    table = [("thunder-fp8", "Lightning Thunder", "FP8", 14264.60, 52.95),
             ("compile-fsdp2", fsdp, "bf16", 11855.92, 40.21),
             ("thunder-inductor-cudnn", "Lightning Thunder", "bf16", 10611.78, 42.06),
                ("fsdp1", fsdp, "bf16", 10184.90, 40.21), ("eager-fsdp2", fsdp, "bf16", 9325.13, 47.45),
                ("thunder-dynamo", "Lightning Thunder", "bf16", 11562.31, 42.46)]
    for name, framework, precision, rate, memory in table:
        add(f"thunder-{name}", "Lightning Thunder pull request 940",
            f"github Lightning-AI/lightning-thunder/pull/940, {name}", H100, 8, model, precision, {"dp": 8}, 1, 8,
            framework, of_gpu(rate, model, 8, 8), PER_GPU, zero_stage=2, sharding="zero2", recompute="none",
            peak_memory_gb=memory, attention_kernel="flash", assumed=["SXM", "fused attention"])
    model = llama3_8b(8192)
    for gpu, rate in (("MI355X", 30.646), ("MI350X", 25.010)):
        add(f"mlperf-5.1-amd-{gpu}", "MLPerf Training v5.1, AMD, Llama 3.1 8B",
            "github mlcommons/training_results_v5.1@4da2d1c:AMD/results/"
            f"{gpu}_EPYC_9575F_pytorch/llama31_8b/result_0.txt", gpu, 8,
            model, "FP8", {"dp": 8}, 2, 32, "NeMo", 32 / rate, SAMPLES, zero_stage=1,
            assumed=["FP8", "all eight data parallel", "ZeRO-1", "two microbatches as logged"])


def atorch():
    model = llama2_7b(4096)
    hidden, seq, layers = 4096, 4096, 32
    layer = 8 * seq * hidden**2 + 4 * seq**2 * hidden + 6 * seq * hidden * 11008
    work = 4 * layers * layer + 6 * seq * hidden * 32000
    formula = ("TFLOP/s of a GPU, printed; a sample's FLOPs as example_utils.py counts them, "
               "4 L (8 s h^2 + 4 s^2 h + 6 s h F) + 6 s h V, recompute counted")
    table = [("fsdp", 1, 1, 4, 1, {8: 204.67, 16: 197.22, 32: 196.04, 64: 195.14}), ("3d", 1, 2, 8, 64, {8: 190.27}),
             ("3d", 2, 1, 8, 64, {8: 159.19}), ("3d", 2, 2, 8, 64, {8: 155.73, 16: 154.84, 32: 154.44, 64: 153.93})]
    for name, tp, pp, micro, accumulated, rates in table:
        for gpus, tflops in rates.items():
            dp = gpus // tp // pp
            batch = micro * accumulated * dp
            add(f"atorch-{name}-{gpus}-tp{tp}pp{pp}", "DLRover ATorch Llama 2 example",
                "github intelligent-machine-learning/dlrover@11bf2fb:atorch/examples/llama2/README.md, "
                f"{name}, {gpus} GPUs, TP{tp} PP{pp}", A100, gpus, model, "bf16", {"tp": tp, "pp": pp, "dp": dp}, micro,
                batch, "PyTorch FSDP (ATorch)" if name == "fsdp" else "DeepSpeed (ATorch 3D)",
                work * batch / gpus / tflops / 1e12, formula, zero_stage=3 if name == "fsdp" else 1,
                sharding="FSDP" if name == "fsdp" else None, recompute="full", schedule="1f1b" if pp > 1 else None,
                internode_gbit_per_s_per_node=800, attention_kernel="flash",
                peak_memory_gb=39596.3 / 1024 if name == "fsdp" and gpus == 8 else None,
                assumed=["sequence of 4096, the scripts' default", "fused attention"]
                + ([] if name == "fsdp" else ["ZeRO-1"]))


def transformer_engine_issues():
    model = GPT2["1558M"]
    work = 6 * parameters(model) + 12 * 48 * 1600 * 1024
    for issue, gpu, gpus, each, tflops in ((72, H100, 1, 14, 490), (72, "H200-141GB-SXM", 1, 14, 532.68),
                                           (72, "MI300X", 1, 14, 174.87), (76, "MI300X", 8, 28, 315),
                                           (76, "MI300X", 8, 32, 318), (76, "MI300X", 8, 42, 324)):
        add(f"rocm-te-{issue}-{gpu[:6].strip('-')}-{gpus}-{each}", "ROCm TransformerEngine issues",
            f"github ROCm/TransformerEngine/issues/{issue}, {gpus} GPUs, batch {each} of each", gpu, gpus, model, "FP8",
            {"dp": gpus}, each, each * gpus, "PyTorch DDP (Transformer Engine)", work * 1024 * each / tflops / 1e12,
            "TFLOP/s of a GPU, printed; (6 N + 12 L H Q T) tokens/that", recompute="none", attention_kernel="TE",
            assumed=["the FLOP formula is nanoGPT's", "SXM of 80 GB"],
            suspect="the formula behind the FLOP/s is not seen whole")


def bigscience():
    model = gpt("GPT 13B (tr1)", 40, 5120, 32, 2048, 13.0)
    network = {"per_node": 4, "internode_gbit_per_s_per_node": 400}
    add("bigscience-tr1-13b", "BigScience tr1-13B",
        "github bigscience-workshop/bigscience@053adaf:train/tr1-13B-base/README.md", "V100-32GB-SXM2", 512, model,
        "fp16", {"tp": 2, "pp": 4, "dp": 64}, 1, 1024, "Megatron-DeepSpeed", 13.2482, PRINTED, zero_stage=1,
        recompute="full", schedule="1f1b", assumed=["microbatch of 1", "network of 400 Gb/s"], **network)
    model = gpt("GPT 104B (tr8)", 64, 11600, 80, 2048, 104)
    # tensor, pipeline, data; seconds, memory; bits of Adam's states
    table = [(4, 32, 1, 696, 30, 32), (4, 16, 2, 681, 31, 8), (2, 32, 2, 633, 31, 8), (1, 64, 2, None, None, 8)]
    for tp, pp, dp, seconds, memory, adam in table:
        add(f"bigscience-tr8-tp{tp}pp{pp}", "BigScience tr8-104B experiments",
            f"github bigscience-workshop/bigscience@3ce7269:experiments/tr8-104B.md, TP{tp} PP{pp} DP{dp}",
            "V100-32GB-SXM2", 128, model, "fp16", {"tp": tp, "pp": pp, "dp": dp}, 1, 2048, "Megatron-DeepSpeed",
            seconds, PRINTED if seconds else None, zero_stage=1, recompute="full", schedule="1f1b", **network,
            peak_memory_gb=memory, assumed=["64 layers of 11600", "ZeRO-1", "network of 400 Gb/s"]
            + (["Adam's states are of 8 bits, which a run cannot say"] if adam == 8 else []),
            suspect="the page's head names 32 layers of 16384, and pipelines of 64 stages, which they cannot have")


def doubtful():
    """Sources of which every row is doubtful."""
    for name, seq, cp, rate in (("dp", 65536, 1, 10240), ("ring", 65536, 8, 7816), ("ring", 131072, 8, 4266),
                                ("ring", 524288, 8, 2133)):
        model = llama2_7b(seq)
        add(f"easycontext-{name}-{seq}", "EasyContext README",
            f"github jzhang38/EasyContext@1729d4f:README.md, {name}, {seq}", A100, 8, model, "bf16",
            {"cp": cp, "dp": 8 // cp}, 1, 8 // cp, "DeepSpeed (EasyContext)", of_all(rate, model, 8 // cp), TOTAL,
            zero_stage=3, sharding="ZeRO-3, offloaded", recompute="full", attention_kernel="flash_attention2",
            assumed=["80 GB", "bf16"], suspect="optimizer and parameters lie in the host, which a run cannot say")
    model = gpt("GPT 24x1024", 24, 1024, 16, 2048, None, 250000)
    for place, seconds in (("NVIDIA/Megatron-LM/issues/449", 4.29),
                           ("deepspeedai/Megatron-DeepSpeed/issues/199", 2.673)):
        framework = place.split("/")[1]
        add(f"{framework.lower()}-issue-v100", "Issue on Megatron-LM and Megatron-DeepSpeed on 64 V100",
            f"github {place}", "V100-32GB-SXM2", 64, model, "fp16", {"dp": 64}, 4, 256, framework, seconds,
            PRINTED, assumed=["all data parallel", "microbatch of 4"], suspect="layout and microbatch are not stated")
    model = gpt("GPT 24x2304", 24, 2304, 24, 2048, None)
    add("min-llm-16", "min-LLM issue 16", "github SeanNaren/min-LLM/issues/16, ZeRO-3", A100, 8, model, "bf16",
        {"dp": 8}, 36, 288, "DeepSpeed (min-LLM)", 8.01, PRINTED, zero_stage=3, recompute="full",
        assumed=["24 layers of 2304, sequence of 2048", "80 GB", "bf16"],
        suspect="the shape is deduced from printed FLOP/s")
    model = {**LLAMA2_13B, "name": "LLaMA-13B", "seq_len": 2048}
    for optimizer, rates in (("overlapped", {256: 1890, 512: 1845}), ("distributed", {256: 1630, 512: 1430})):
        for gpus, rate in rates.items():
            add(f"megatron-llama-{optimizer}-{gpus}", "Alibaba Megatron-LLaMA README",
                f"github alibaba/Megatron-LLaMA@46ae7dd:README.md, {optimizer} optimizer, {gpus} GPUs", A100, gpus,
                model, "bf16", {"tp": 2, "dp": gpus // 2}, 4, 2048, "Megatron-LM (Megatron-LLaMA)",
                of_gpu(rate, model, 2048, gpus), PER_GPU, zero_stage=1, attention_kernel="flash",
                internode_gbit_per_s_per_node=800,
                assumed=["13B", "TP2, microbatch of 4, batch of 2048 samples of 2048"],
                suspect="neither layout nor batch is stated")


if __name__ == "__main__":
    write("held_out_runs_2.json.gz",
          [internlm, jax_toolbox, dgx_cloud, nemo_launcher, bionemo, mosaic_examples, colossal, gpt2_trainers,
           flagperf_megatron, flagperf_others, torchao_and_torchtitan, others_on_llama, atorch,
           transformer_engine_issues, bigscience, doubtful])
