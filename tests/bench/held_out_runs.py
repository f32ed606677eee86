#!/usr/bin/env python3
"""Writes tests/data/measured/held_out_runs.json.gz: published, measured runs that no constant was ever fitted to.

    tests/bench/held_out_runs.py [FILE]

The tables below hold what the sources print; every row says where. What a source does not state is listed in `assumed`.
Parameters are checked against the stated size, and no run may use 75 % of a GPU's peak.
"""
from measured_tables import (LLAMA2_13B, LLAMA2_70B, LLAMA3_70B, add, counted_attention, dense, llama2_7b, llama3_405b,
                             llama3_8b, mixture, parameters, whole_square, write)


def megatron_paper():
    # parameters 10^9, heads, hidden, layers, tp, pp, GPUs, batch, TFLOP/s of a GPU
    table = [(1.7, 24, 2304, 24, 1, 1, 32, 512, 137), (3.6, 32, 3072, 30, 2, 1, 64, 512, 138),
             (7.5, 32, 4096, 36, 4, 1, 128, 512, 142), (18.4, 48, 6144, 40, 8, 1, 256, 1024, 135),
             (39.1, 64, 8192, 48, 8, 2, 512, 1536, 138), (76.1, 80, 10240, 60, 8, 4, 1024, 1792, 140),
             (145.6, 96, 12288, 80, 8, 8, 1536, 2304, 148), (310.1, 128, 16384, 96, 8, 16, 1920, 2160, 155),
             (529.6, 128, 20480, 105, 8, 35, 2520, 2520, 163), (1008, 160, 25600, 128, 8, 64, 3072, 3072, 163)]
    for row, (size, heads, hidden, layers, tp, pp, gpus, batch, tflops) in enumerate(table, 1):
        model = dense(f"GPT {size}B", layers, hidden, heads, 2048, size)
        work = 96 * batch * 2048 * layers * hidden**2 * (1 + 2048 / (6 * hidden) + 51200 / (16 * layers * hidden))
        micro = 4 if pp == 1 else 2 if pp < 8 else 1
        add(f"sc21-t1-{size}B-{gpus}", "Narayanan et al. SC21 Table 1 (weak scaling)",
            f"arXiv 2104.04473, table 1, row {row}; read in SotaroKaneda/MLCarbon@69070b2:data/megatron_table.csv",
            "A100-80GB-SXM", gpus, model, "fp16", {"tp": tp, "pp": pp, "dp": gpus // tp // pp}, micro, batch,
            "Megatron-LM", work / gpus / tflops / 1e12,
            "TFLOP/s of a GPU, printed; the paper's equation 3, 96 B s l h^2 (1 + s/6h + V/16lh), which counts recompute",
            assumed=[f"microbatch of {micro}", "virtual stages not stated"], recompute="full",
            vpp=1 if pp == 1 else None, schedule=None if pp == 1 else "interleaved 1F1B",
            internode_gbit_per_s_per_node=1600)


def dlperf():
    # data, tensor, pipeline; microbatch, batch; hidden, heads, layers; ms of OneFlow, ms of Megatron-LM
    table = [("DP", 1, 1, 1, 2, 2, 1536, 16, 16, 406.16, 464.12), ("DP", 8, 1, 1, 2, 16, 1536, 16, 16, 417.95, 480.96),
             ("DP", 16, 1, 1, 2, 32, 1536, 16, 16, 489.67, 664.46), ("DP", 32, 1, 1, 2, 64, 1536, 16, 16, 518.64, 683.51),
             ("MP", 1, 1, 1, 8, 8, 768, 12, 12, 525.21, 611.2), ("MP", 1, 8, 1, 16, 16, 1536, 16, 16, 642.13, 692.44),
             ("MP", 1, 16, 1, 16, 16, 3072, 32, 16, 4819.29, 5610.23),
             ("MP", 1, 32, 1, 16, 16, 3072, 32, 32, 9505.83, 13037.85),
             ("2D", 8, 1, 1, 2, 16, 1536, 16, 16, 417.90, 480.22), ("2D", 1, 8, 1, 16, 16, 1536, 16, 16, 644.4, 664.64),
             ("2D", 2, 4, 1, 8, 16, 1536, 16, 16, 539.69, 576.48), ("2D", 4, 2, 1, 4, 16, 1536, 16, 16, 543.88, 593.68),
             ("2D", 2, 8, 1, 8, 16, 2304, 24, 24, 1268.53, 1313.52),
             ("2D", 4, 8, 1, 8, 32, 2304, 24, 24, 1480.34, 1508.48),
             ("DP_PP", 8, 1, 4, 2, 512, 1536, 16, 16, 4006.31, 4893.55),
             ("MP_PP", 1, 8, 4, 16, 512, 2304, 24, 24, 19196.65, 22166.85),
             ("2D_PP", 2, 4, 4, 8, 512, 2304, 24, 24, 13117.18, 15331.23),
             ("2D_PP", 2, 8, 2, 8, 512, 2304, 24, 24, 14375.35, 16281.51)]
    stated = {(1536, 16): 0.498, (768, 12): 0.117, (3072, 16): 1.84, (3072, 32): 3.529, (2304, 24): 1.539}
    for group, dp, tp, pp, micro, batch, hidden, heads, layers, oneflow, megatron in table:
        case = f"{group}_{dp}x{tp}x{pp}_{batch}_{hidden}x{layers}"
        model = dense(f"GPT {hidden}x{layers}", layers, hidden, heads, 2048, vocab=50257)
        assert abs(parameters(model) / 1e9 / stated[hidden, layers] - 1) < 0.15, case  # they leave the embedding out
        for framework, file, milliseconds, kernel in (
                ("OneFlow", "OneFlow/LanguageModeling/GPT/README.md", oneflow, "fused"),
                ("Megatron-LM", "Megatron-LM/README.md", megatron, None)):
            add(f"dlperf-{framework.lower()}-{case}", f"Oneflow-Inc DLPerf GPT benchmark, {framework}",
                f"github Oneflow-Inc/DLPerf:{file}, case {case}", "V100-16GB-SXM2", dp * tp * pp, model, "fp16",
                {"dp": dp, "tp": tp, "pp": pp}, micro, batch, framework, milliseconds / 1e3, "measured, printed",
                assumed=["recompute full, as in the log that is shown and in the report's FLOP formula"],
                recompute="full", attention_kernel=kernel, schedule="1f1b" if pp > 1 else None,
                internode_gbit_per_s_per_node=100,
                framework_version="75f11b8" if framework == "OneFlow" else "8aa4619")


def libai():
    table = """1x1x1_mb6_gb6_1n1g 17.52 15.5, 4x1x1_mb4_gb16_1n4g 63.45 53.3, 8x1x1_mb4_gb32_1n8g 125.64 107.9,
        16x1x1_mb4_gb64_2n8g 215.35 176.0, 32x1x1_mb4_gb128_4n8g 329.58 296.6, 1x4x1_mb6_gb6_1n4g 40.38 38.0,
        1x8x1_mb8_gb8_1n8g 60.53 55.7, 1x1x1_ac_mb32_gb256_1n1g 14.43 13.3, 1x1x4_ac_mb32_gb256_1n4g 41.9 33.2,
        nl48_1x1x8_ac_mb24_gb384_1n8g 37.4 31.8, 2x2x1_ac_mb32_gb512_1n4g 37.63 36.9,
        4x2x1_ac_mb32_gb1024_1n8g 74.35 73.2, 8x2x1_ac_mb32_gb2048_2n8g 148.94 146.5,
        2x8x1_ac_mb32_gb512_2n8g 116.04 109.1, 4x4x1_ac_mb32_gb512_2n8g 141.25 138.1,
        2x1x4_ac_mb32_gb512_1n8g 83.12 65.3, 4x1x4_ac_mb32_gb1024_2n8g 164.23 128.4,
        8x1x4_ac_mb32_gb2048_4n8g 322.42 247.3, 2x2x4_ac_mb32_gb1024_2n8g 128.77 106.3,
        4x2x4_ac_mb48_gb1536_4n8g 209.32 179.5, 2x4x4_ac_mb64_gb1024_4n8g 186.67 178.2"""
    for line in table.split(","):
        case, *throughputs = line.split()
        parts = case.split("_")
        layers = 48 if parts[0] == "nl48" else 24
        dp, tp, pp = map(int, next(part for part in parts if "x" in part).split("x"))
        micro, batch = (int(next(part for part in parts if part.startswith(key))[2:]) for key in ("mb", "gb"))
        per_node = int(parts[-1].split("n")[1][:-1])
        model = dense(f"GPT-2 1024x{layers}", layers, 1024, 16, 1024, vocab=50257)
        for framework, throughput in zip(("LiBai", "Megatron-LM"), throughputs):
            add(f"libai-{framework.lower()}-{case}", f"Oneflow-Inc LiBai GPT-2 benchmark, {framework}",
                "github Oneflow-Inc/libai@446f566:docs/source/tutorials/get_started/Benchmark.md, GPT-2, " + case,
                "V100-32GB-SXM2", dp * tp * pp, model, "fp16", {"dp": dp, "tp": tp, "pp": pp}, micro, batch, framework,
                batch / float(throughput), "samples per second, printed", per_node=per_node,
                assumed=["V100 32 GB: issue 475 of the repository reproduces Megatron-LM's first row with one"],
                suspect="the page does not name the GPU or the network", recompute="full" if "ac" in parts else "none",
                attention_kernel="fused" if framework == "LiBai" else None, schedule="1f1b" if pp > 1 else None)


def fully_sharded():
    where = "github pytorch/torchtitan@0413364:docs/performance.md, Llama {} table"
    table = [(3, llama3_8b(8192), 1, "selective layer", 2904), (3, llama3_8b(8192), 1, "selective op", 2973),
             (3, LLAMA3_70B, 1, "full", 331), (2, LLAMA2_13B, 2, "no", 2162), (2, LLAMA2_13B, 2, "selective layer", 1914),
             (2, LLAMA2_13B, 2, "selective op", 1904), (2, LLAMA2_70B, 1, "selective op", 355),
             (2, LLAMA2_70B, 2, "full", 353)]
    for generation, model, micro, recompute, tokens in table:
        name = model["name"].replace(" ", "").lower() + "-" + recompute.replace(" ", "-")
        add(f"torchtitan-a100-{name}", "torchtitan performance page 2024, 64 A100", where.format(generation),
            "A100-80GB-SXM", 64, model, "bf16", {"dp": 64}, micro, 64 * micro, "torchtitan",
            micro * model["seq_len"] / tokens, "words per second of a GPU, printed", sharding="FSDP2", zero_stage=3,
            recompute={"no": "none", "full": "full"}.get(recompute, "selective"), assumed=["bf16"],
            suspect="every second layer is recomputed whole, which a run cannot say" if "layer" in recompute else None)
    for precision, tokens, extra in (("bf16", 109, ""), ("float8", 177, ""), ("float8", 185, ", asynchronous TP")):
        add(f"torchtitan-405b-128-{precision}{'-async' if extra else ''}",
            "torchtitan performance page 2024, Llama 3.1 405B on 128 H100",
            f"github pytorch/torchtitan:docs/performance.md (2024), 405B table, {precision}{extra}",
            "H100-96GB-HBM2e-500W", 128, llama3_405b(8192), precision, {"dp": 16, "tp": 8}, 2, 32, "torchtitan",
            2 * 8192 / 8 / tokens, "words per second of a GPU, printed", sharding="FSDP2", zero_stage=3,
            recompute="full", sequence_parallel=True, internode_gbit_per_s_per_node=3200,
            assumed=["the 94 GB H100 is that of the later benchmarks: 96 GB HBM2e, 500 W, 400 Gbit/s for each"])
    llama2_34b = dense("Llama 2 34B", 48, 8192, 64, 4096, 33.7, kv=8, ffn=22016, gated=True, vocab=32000)
    for name, model, micro, recompute, tokens in (
            ("7b", llama2_7b(4096), 2, "none", 3760), ("13b", LLAMA2_13B, 1, "none", 1700),
            ("34b", llama2_34b, 8, "full", 772), ("70b", LLAMA2_70B, 6, "full", 380)):
        sharding = "HSDP" if recompute == "none" else "FSDP"
        add(f"fms-fsdp-{name}-128", "IBM fms-fsdp README", f"github foundation-model-stack/fms-fsdp@0d31998:README.md, {name}",
            "A100-80GB-SXM", 128, model, "bf16", {"dp": 128}, micro, 128 * micro, "PyTorch FSDP (fms-fsdp)",
            micro * 4096 / tokens, "tokens per second of a GPU, printed", sharding=sharding, zero_stage=3,
            recompute=recompute, assumed=["A100 80 GB", "bf16", "sequence 4096", "batch is of a GPU"])
    add("fsdp-aws-175b-128", "PyTorch FSDP on AWS, GPT-3 175B",
        "PyTorch blog, Training a 1 Trillion Parameter Model With PyTorch FSDP on AWS (2022), text of figure 5",
        "A100-40GB-SXM", 128, dense("GPT-3 175B", 96, 12288, 96, 512, 175, vocab=50000), "fp16", {"dp": 128}, 20, 2560,
        "PyTorch FSDP", 96 * 2560 * 512 * 96 * 12288**2 * (1 + 512 / (6 * 12288) + 5e4 / (16 * 96 * 12288)) / 128 / 159e12,
        "TFLOP/s of a GPU, printed; equation 3 of arXiv 2104.04473, as the source says", sharding="FSDP", zero_stage=3,
        recompute="full", internode_gbit_per_s_per_node=400, assumed=["SGD, taken as Adam"],
        suspect="whether parameters and activations were kept on the host is not said for this model")


def large_runs():
    for row, gpus, cp, dp, seq, tflops in ((1, 8192, 1, 64, 8192, 430), (2, 16384, 1, 128, 8192, 400),
                                           (3, 16384, 16, 8, 131072, 380)):
        model = llama3_405b(seq)
        work = 6 * 405e9 + 6 * 126 * 16384 * seq
        add(f"llama3-405b-{gpus}-{seq}", "Llama 3 herd of models, table 4", f"arXiv 2407.21783, table 4, row {row}",
            "H100-80GB-SXM", gpus, model, "bf16", {"tp": 8, "pp": 16, "cp": cp, "dp": dp}, 1, 2**24 // seq,
            "Meta (internal)", work * 2**24 / gpus / tflops / 1e12,
            "TFLOP/s of a GPU, printed; formula not stated: 6 N + 6 l h s for a token (attention of the lower triangle)",
            sequence_parallel=True, zero_stage=2, vpp=8, schedule="interleaved 1F1B", sharding="FSDP without resharding",
            recompute="none" if seq == 8192 else None, internode_gbit_per_s_per_node=3200,
            assumed=["microbatch of 1", "a layer in each of 8 virtual stages: the first holds the embedding alone"],
            suspect="the table's DP is 4, which does not multiply to its GPUs; 8 does; attention is 40 % of the work, "
                    "and the formula is not stated" if row == 3 else None)
    nemotron = dense("Nemotron-4 15B", 32, 6144, 48, 4096, 15.6, kv=8, vocab=256000)
    for dp, gpus, seconds, batch in ((96, 768, 0.57, 384), (192, 1536, 0.58, 768), (288, 2304, 0.64, 1152)):
        add(f"nemotron4-15b-{gpus}", "Nemotron-4 15B technical report, table 2", f"arXiv 2402.16819, table 2, {gpus} GPUs",
            "H100-80GB-SXM", gpus, nemotron, "bf16", {"tp": 8, "dp": dp}, batch // dp, batch, "Megatron-LM", seconds,
            "seconds, printed", sequence_parallel=True, zero_stage=1, internode_gbit_per_s_per_node=3200,
            assumed=["one microbatch of 4 a step", "sequence parallel", "no recompute"], recompute="none",
            attention_kernel="flash")
    neox = dense("GPT-NeoX-20B", 44, 6144, 64, 2048, 20.6, vocab=50432)
    work = 96 * 1536 * 2048 * 44 * 6144**2 * (1 + 2048 / (6 * 6144) + 50432 / (16 * 44 * 6144))
    add("neox-20b-96", "GPT-NeoX-20B", "arXiv 2204.06745, section 2.3; github EleutherAI/gpt-neox@252ddc5:configs/20B.yml",
        "A100-40GB-SXM", 96, neox, "fp16", {"tp": 2, "pp": 4, "dp": 12}, 4, 1536, "GPT-NeoX", work / 96 / 117e12,
        "TFLOP/s of a GPU, printed; equation 3 of arXiv 2104.04473, which the code uses with recompute counted",
        zero_stage=1, recompute="full", schedule="1f1b", attention_kernel="fused",
        assumed=["the FLOP formula"])
    work = 96 * 992 * 2048 * 96 * 12288**2 * (1 + 2048 / (6 * 12288) + 50272 / (16 * 96 * 12288))
    add("opt-175b-992", "OPT-175B", "arXiv 2205.01068, sections 2.3 and 2.4", "A100-80GB-SXM", 992,
        dense("OPT-175B", 96, 12288, 96, 2048, 175, vocab=50272), "fp16", {"tp": 8, "dp": 124}, 8, 992, "metaseq",
        work / 992 / 147e12, "TFLOP/s of a GPU, printed; equation 3 of arXiv 2104.04473 (33 days for 300e9 tokens agree)",
        zero_stage=3, sharding="FSDP", recompute="full", assumed=["TP of 8", "992 samples of 2e6 tokens", "recompute"])
    add("tinyllama-16", "TinyLlama README", "github jzhang38/TinyLlama README; arXiv 2401.02385", "A100-40GB-SXM", 16,
        dense("TinyLlama 1.1B", 22, 2048, 32, 2048, 1.1, kv=4, ffn=5632, gated=True, vocab=32000), "bf16", {"dp": 16}, 8,
        1024, "TinyLlama (lit-gpt, FSDP)", 64 * 2048 / 24000, "tokens per second of a GPU, printed", zero_stage=3,
        sharding="FSDP", recompute="none", attention_kernel="flash_attention2", assumed=["FSDP over both hosts"])


def mixtures():
    mixtral = mixture("Mixtral 8x7B", 32, 4096, 32, 4096, 8, 8, 2, 14336, 32000)
    add("mcore-mixtral-8x7b-64", "Megatron Core MoE README",
        "github NVIDIA/Megatron-LM@022bcb5:megatron/core/transformer/moe/README.md, introduction and reference mapping",
        "H100-80GB-SXM", 64, mixtral, "bf16", {"pp": 4, "dp": 16, "ep": 8}, 1, 256, "Megatron-LM",
        whole_square(mixtral) * 256 * 4096 / 64 / 468e12, "TFLOP/s of a GPU, printed; Megatron-LM's formula: two of eight "
        "experts, attention of the whole square", vpp=8, zero_stage=1, schedule="interleaved 1F1B",
        internode_gbit_per_s_per_node=3200, attention_kernel="transformer-engine",
        assumed=["TFLOP/s of v0.9 belong to the reference mapping, which is of v0.8"])
    large, fine = (("Mixtral-8x22B", 56, 6144, 48), (8, 8, 2, 16384, 32768)), \
                  (("Mixtral-8x22B-G8T8", 56, 6144, 48), (8, 64, 8, 2048, 32768))
    qwen = ("Qwen2-57B-A14B", 28, 3584, 28), (4, 64, 8, 2560, 151936, 8)
    # table, model, folding, GPUs: MFU, tp, ep, pp, batch; of table 5 also sequence and cp
    mappings = [(3, large, False, {128: 46.3}, 2, 4, 8, 256), (3, large, True, {128: 49.3}, 2, 8, 8, 256),
                (3, qwen, False, {64: 35.3}, 2, 4, 4, 256), (3, qwen, True, {64: 39.0}, 2, 4, 4, 256),
                (3, fine, False, {128: 17.1}, 2, 8, 8, 256), (3, fine, True, {128: 28.8}, 4, 8, 8, 256),
                (4, large, False, {128: 49.4, 256: 48.0, 512: 45.5, 1024: 42.3}, 2, 4, 8, 1024),
                (4, large, True, {128: 52.2, 256: 50.7, 512: 48.9, 1024: 44.9}, 2, 8, 8, 1024),
                (4, qwen, False, {64: 36.2, 128: 36.0, 256: 34.8, 512: 32.5, 1024: 29.8}, 2, 4, 4, 1024),
                (4, qwen, True, {64: 39.9, 128: 39.7, 256: 38.1, 512: 36.6, 1024: 33.4}, 2, 4, 4, 1024),
                (4, fine, False, {128: 19.8, 256: 18.4, 512: 16.3, 1024: 13.4}, 2, 8, 8, 1024),
                (4, fine, True, {128: 30.0, 256: 29.3, 512: 26.7, 1024: 25.5}, 4, 8, 8, 1024)]
    cases = [(*row[:3], gpus, utilization, *row[4:], 4096, 1) for row in mappings for gpus, utilization in row[3].items()]
    cases += [(5, large, False, 128, 45.3, 2, 4, 8, 1024, 16384, 4), (5, large, False, 256, 43.2, 2, 4, 8, 512, 32768, 8),
              (5, large, False, 512, 42.6, 2, 4, 8, 256, 65536, 16), (5, large, False, 1024, 38.2, 4, 8, 8, 128, 131072, 16),
              (5, large, True, 128, 47.6, 2, 8, 8, 1024, 16384, 4), (5, large, True, 256, 45.1, 2, 8, 8, 512, 32768, 8),
              (5, large, True, 512, 44.5, 4, 8, 8, 256, 65536, 8), (5, large, True, 1024, 42.9, 8, 8, 8, 128, 131072, 8)]
    for number, (shape, rest), folding, gpus, utilization, tp, ep, pp, batch, seq, cp in cases:
        model = mixture(*shape, seq, *rest)
        how = "folding" if folding else "mcore"
        add(f"mpf-t{number}-{shape[0]}-{how}-{gpus}", "MoE Parallel Folding (Megatron Core), tables 3 to 5",
            f"arXiv 2504.14960, table {number}, {shape[0]}, MCore{' w/ Folding' if folding else ''}, {gpus} GPUs",
            "H100-80GB-SXM", gpus, model, "bf16", {"tp": tp, "pp": pp, "cp": cp, "dp": gpus // tp // pp // cp, "ep": ep,
            "etp": 1 if folding else tp}, 1,
            batch, "Megatron-LM", whole_square(model) * batch * seq / gpus / (utilization / 100 * 989.5e12),
            "MFU of 989.5 TFLOP/s, printed; Megatron-LM's formula: experts that a token meets, attention of the whole square",
            vpp=None, zero_stage=1, sequence_parallel=True, internode_gbit_per_s_per_node=3200,
            attention_kernel="transformer-engine", suspect=counted_attention(model),
            assumed=["microbatch of 1", "virtual stages", "expert_tensor_parallel", "capacity factor 1 drops tokens"] + (["batch of 1024: the paper's scaling runs"] if number == 4 else []))
    for name, pp, vpp, eager, graph in (("pp1", 1, 1, 5822.0, 5830.5), ("pp2", 2, 8, 5615.5, 5575.5)):
        for trainer, tokens in (("eager", eager), ("graph", graph)):
            model = {**mixture("DeepSeek V3 671B", 61, 7168, 128, 4096, 128, 256, 8, 2048, 129280, 1, attention="MLA",
                               notes="first 3 layers dense (ffn 18432)"), "ffn_hidden": 18432}
            add(f"torchtitan-dsv3-256-{name}-{trainer}", "torchtitan DeepSeek V3 DistMoE report, 256 GB300",
                f"github pytorch/torchtitan@1ec9e87:docs/dsv3_671b_dist_moe_256gpu_report.md, {name}, {trainer}, without MTP",
                "GB300", 256, model, "MXFP8", {"pp": pp, "dp": 256 // pp, "ep": 64}, 1, 4096, "torchtitan",
                4096 * 4096 / 256 / tokens, "tokens per second of a GPU, printed", vpp=vpp, zero_stage=1, per_node=4,
                sharding="FSDP2, never resharded", recompute="none", uneven_pipeline=pp > 1,
                schedule="interleaved 1F1B" if pp > 1 else None,
                assumed=["gathered and reduced once a step, as ZeRO-1", "MXFP8 everywhere: only experts are"])


def nemo():
    # NeMo's formula: flops of a token = l h^2 (12 + 12 kv/heads + 18 ffn/h + 12 s/h + 6 V/(l h))
    def work(model):
        hidden, layers = model["hidden"], model["layers"]
        return layers * hidden**2 * (12 + 12 * model["kv_heads"] / model["heads"] + 18 * model["ffn_hidden"] / hidden +
                                     12 * model["seq_len"] / hidden + 6 * model["vocab"] / layers / hidden)
    formula = "TFLOP/s of a GPU, printed; NeMo's formula with attention of the whole square (checked: 46.1e9 a token at 4096)"
    for thousands, tp, pp, dp, cp, tflops in (
            (4, 1, 1, 4, 1, 768), (8, 1, 2, 4, 1, 730), (16, 2, 1, 8, 1, 660), (32, 2, 1, 8, 2, 610), (64, 4, 1, 8, 2, 574),
            (128, 4, 1, 8, 4, 555), (256, 4, 1, 8, 8, 549), (512, 8, 1, 4, 16, 549), (1024, 8, 1, 4, 32, 536)):
        seq, gpus = thousands * 1024, tp * pp * dp * cp
        add(f"nemo-24.03-llama2-7b-{thousands}k", "NeMo 24.03 long sequence performance",
            f"github NVIDIA/NeMo@0aa2671:docs/source/performance/performance_long_sequence.md, {thousands} K",
            "H100-80GB-SXM", gpus, llama2_7b(seq), "FP8", {"tp": tp, "pp": pp, "dp": dp, "cp": cp}, 1, 4096 // thousands,
            "NeMo", work(llama2_7b(seq)) * 2**22 / gpus / tflops / 1e12, formula, framework_version="24.03.01",
            zero_stage=1, sequence_parallel=tp > 1, vpp=None if pp > 1 else 1, suspect=counted_attention(llama2_7b(seq)),
            assumed=["4 Mi tokens a batch, as on later versions of the page", "microbatch of 1", "distributed optimizer"])
    for thousands, tp, dp, cp, tflops in ((8, 1, 2, 1, 1671), (16, 1, 4, 1, 1717), (32, 1, 4, 2, 1624), (64, 1, 4, 4, 1600),
                                          (128, 2, 4, 4, 1588), (256, 4, 4, 4, 1590), (512, 4, 4, 8, 1619),
                                          (1024, 4, 4, 16, 1608)):
        seq, gpus = thousands * 1024, tp * dp * cp
        add(f"nemo-25.04-llama3-8b-{thousands}k", "NeMo 25.04 long sequence performance",
            f"NeMo docs, performance_long_sequence.md (copy huggingface Respair/NeMo_Canary), {thousands} K",
            "B200-SXM", gpus, llama3_8b(seq), "FP8", {"tp": tp, "dp": dp, "cp": cp}, 1, 4096 // thousands, "NeMo",
            work(llama3_8b(seq)) * 2**22 / gpus / tflops / 1e12, formula, framework_version="25.04.rc2",
            zero_stage=1, sequence_parallel=tp > 1, assumed=["microbatch of 1", "distributed optimizer"],
            suspect="the page's number of GPUs is four times the product of its degrees; the product is taken")
    for name, layers, hidden, heads, size, gpus, tp, pp, vpp, micro, batch, tokens in (
            ("20B", 44, 6144, 48, 20.3, 64, 2, 1, 1, 2, 256, 5851), ("175B", 96, 12288, 96, 175, 128, 4, 8, 6, 1, 256, 716),
            ("175B", 96, 12288, 96, 175, 512, 4, 8, 6, 2, 2048, 825)):
        add(f"nemo-24.12-gpt3-{name}-{gpus}", "NeMo 24.12 performance page, GPT-3 20B and 175B",
            f"docs.nvidia.com/nemo-framework/user-guide/24.12/nemotoolkit/performance, GPT3-{name}, {gpus} GPUs",
            "H100-80GB-SXM", gpus, dense(f"GPT3-{name}", layers, hidden, heads, 2048, size), "FP8",
            {"tp": tp, "pp": pp, "dp": gpus // tp // pp}, micro, batch, "NeMo", batch * 2048 / gpus / tokens,
            "tokens per second of a GPU, printed", framework_version="24.07", vpp=vpp, zero_stage=1, sequence_parallel=True,
            internode_gbit_per_s_per_node=3200, assumed=["distributed optimizer", "sequence parallel",
                                                         "the page's other rows are those of 24.07"])


def mlperf():
    gpt3 = dense("GPT-3 175B", 96, 12288, 96, 2048, 175)
    for version, hosts, pp, vpp, micro, batch, seconds, how, assumed in (
            ("v3.1", 64, 8, 12, 1, 2048, 11.0486, "mean of the last 2 train_step_timing", ["configuration of 96 hosts"]),
            ("v3.1", 512, 8, 12, 1, 2048, 1.61568, "mean of the last 3 train_step_timing", []),
            ("v3.1", 768, 8, 12, 1, 3072, 1.62248, "mean of the last 4 train_step_timing", []),
            ("v3.1", 1024, 8, 12, 1, 4096, 1.62736, "mean of the last 4 train_step_timing", []),
            ("v3.1", 1280, 8, 12, 1, 2560, 0.925281, "the last train_step_timing", []),
            ("v3.1", 1344, 8, 12, 1, 2688, 0.930043, "mean of the last 3 train_step_timing", []),
            ("v4.0", 64, 8, 4, 2, 2304, 119.898 / 11, "the last blocks of 25344 samples took 119.937 and 119.859 s",
             ["batch of 2304: it divides 25344 samples and 256, and 24576 samples are no whole number of it"]),
            ("v4.0", 1344, 6, 8, 1, 2688, 0.9207, "the last block of 10 steps took 9.207 s", []),
            ("v4.0", 1452, 6, 8, 1, 2904, 8.308 / 9, "the last block of 9 steps took 8.308 s", [])):
        gpus = 8 * hosts
        add(f"mlperf-{version}-gpt3-{gpus}", f"MLPerf Training {version}, NVIDIA, GPT-3 175B",
            f"github mlcommons/training_results_{version}:NVIDIA/results/eos*_n{hosts}_*/gpt3/result_0.txt and its config",
            "H100-80GB-SXM", gpus, gpt3, "FP8", {"tp": 4, "pp": pp, "dp": gpus // 4 // pp}, micro, batch, "NeMo", seconds,
            how, framework_version={"v3.1": "23.09", "v4.0": "24.04"}[version], vpp=vpp, zero_stage=1,
            sequence_parallel=True, recompute="none", internode_gbit_per_s_per_node=3200,
            assumed=assumed + ["vocabulary 51200", "400 Gbit/s for each GPU"])
    large = dense("Llama 3.1 405B", 126, 16384, 128, 8192, 405, kv=8, ffn=53248, gated=True, vocab=128256)
    for name, gpu, gpus, tp, batch, seconds in (("theia_ngpu512", "GB300", 512, 2, 1152, 13.1605),
                                                ("tyche_ngpu512", "GB200", 512, 4, 1152, 17.2618),
                                                ("hsg_ngpu2560", "GB200", 2560, 4, 960, 3.32374),
                                                ("hsg_ngpu5120", "GB200", 5120, 4, 1280, 2.58133)):
        add(f"mlperf-v5.1-405b-{gpu}-{gpus}", "MLPerf Training v5.1, NVIDIA, Llama 3.1 405B",
            f"github mlcommons/training_results_v5.1:NVIDIA/results/{name}_ngc25.09_nemo/llama31_405b/result_0.txt, config",
            gpu, gpus, large, "NVFP4", {"tp": tp, "pp": 8, "cp": 2, "dp": gpus // 16 // tp}, 1, batch, "NeMo", seconds,
            "train_step_time of the last block, printed", framework_version="25.09", vpp=8, zero_stage=1, per_node=4,
            sequence_parallel=True, assumed=["vocabulary 128256", "embedding and loss count as a layer each"])
    for vendor, system, gpu, per_node, gpus, cp, micro, batch, precision, seconds, suspect in (
            ("HPE", "HPE-Cray-XD670-H200-SXM5-141GB_n8_25.09", "H200-141GB-SXM", 8, 64, 2, 1, 32, "FP8", 0.352888, None),
            ("Datacrunch", "b200_8x8_ngc25.09", "B200-SXM", 8, 64, 2, 1, 32, "FP8", 0.190887,
             "which of the submitted configurations ran is not said; context parallelism 2 and FP8 are taken"),
            ("Dell", "1xXE9680Lx8B200-SXM-180GB", "B200-SXM", 8, 8, 1, 2, 16, "NVFP4", 0.450786, None),
            ("NVIDIA", "theia_ngpu72_ngc25.09_nemo", "GB300", 4, 72, 2, 1, 36, "FP8", 0.147934, None)):
        add(f"mlperf-v5.1-8b-{vendor}-{gpus}", "MLPerf Training v5.1, Llama 3.1 8B",
            f"github mlcommons/training_results_v5.1:{vendor}/results/{system}/llama31_8b, first result, and its config",
            gpu, gpus, llama3_8b(8192), precision, {"cp": cp, "dp": gpus // cp}, micro, batch, "NeMo", seconds,
            "mean train_step_time, printed", framework_version="25.09", zero_stage=1, per_node=per_node, recompute="none",
            assumed=["vocabulary 128256", "distributed optimizer"], suspect=suspect)


if __name__ == "__main__":
    write("held_out_runs.json.gz", (megatron_paper, dlperf, libai, fully_sharded, large_runs, mixtures, nemo, mlperf))
