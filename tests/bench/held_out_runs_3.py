#!/usr/bin/env python3
"""Writes tests/data/measured/held_out_runs_3.json.gz: the third set of measured runs that nobody fitted.

    tests/bench/held_out_runs_3.py [FILE]

Collected on 21 November 2026; rows, assumptions and doubts were fixed before any of them was priced. The tables below
hold what the sources print; every row says where. What a source does not state is listed in `assumed`. Parameters are
checked against the stated size, and no run may use 75 % of a GPU's peak.
"""
from measured_tables import (LLAMA2_13B, LLAMA2_70B, LLAMA3_70B, add, dense, llama2_7b, llama3_405b, llama3_8b, mixture,
                             model_flops, whole_square, write)

A100, A100_40, H100, B200 = "A100-SXM4-80GB", "A100-SXM4-40GB", "H100-SXM5-80GB", "B200-SXM"
GH200 = "GH200-96GB"
PRINTED = "measured, printed"
PER_GPU = "tokens/s of a GPU, printed; batch x sequence/(GPUs x that)"
TOTAL = "tokens/s of all GPUs, printed; batch x sequence/that"


def of_gpu(tokens_per_second, model, batch, gpus):
    return batch * model["seq_len"] / gpus / tokens_per_second


def gpt(name, layers, hidden, heads, seq, stated, vocab=51200):
    return dense(name, layers, hidden, heads, seq, stated, vocab=vocab)


def qwen3_30b(seq):
    return mixture("Qwen3 30B-A3B", 48, 2048, 32, seq, 4, 128, 8, 768, 151936, head_dim=128)


def qwen3_235b(seq):
    return mixture("Qwen3 235B-A22B", 94, 4096, 64, seq, 4, 128, 8, 1536, 151936, head_dim=128)


def megatron_v1():
    table = [(1.2, 24, 1920, 15, 1, 1.288), (2.0, 30, 2304, 18, 2, 1.242), (4.2, 36, 3072, 24, 4, 1.357),
             (8.7, 42, 4096, 32, 8, 1.508)]
    for size, layers, hidden, heads, tp, seconds in table:
        add(f"megatron-v1-{size}b", "Megatron-LM 1.0 release page",
            f"github nv-adlr/nv-adlr.github.io@1576088:_projects/megatron-lm-v1.md, table 1, {size} billion",
            "V100-SXM3-32GB", tp, gpt(f"GPT-2 {size}B", layers, hidden, heads, 1024, size), "fp16", {"tp": tp}, 8, 8,
            "Megatron-LM", seconds, PRINTED, recompute="full", attention_kernel="fused", per_node=16,
            framework_version="1.0",
            assumed=["layers, hidden size and heads of that release's scaling study, which give the printed sizes",
                     "sequence of 1024", "microbatch of 8", "activations recomputed, which the printed FLOP/s need",
                     "fp16", "V100 of a DGX-2H, whose clock is higher"])


def mt_nlg():
    model = gpt("MT-NLG 530B", 105, 20480, 128, 2048, 530, 50272)
    for hosts, seconds in {280: 60.1, 350: 50.2, 420: 44.4}.items():
        gpus = 8 * hosts
        add(f"mt-nlg-530b-{gpus}", "Megatron-Turing NLG 530B, section 2.4",
            "arXiv 2201.11990, section 2.4; read in github cli99/llm-analysis@b60b392:"
            f"examples/megatron-turing-nlg/README.md, {hosts} hosts", A100, gpus, model, "bf16",
            {"tp": 8, "pp": 35, "dp": gpus // 280}, 1, 1920, "Megatron-DeepSpeed", seconds, PRINTED, recompute="full",
            zero_stage=1, schedule="1f1b", attention_kernel="fused", internode_gbit_per_s_per_node=1600,
            assumed=["80 GB, as Selene has; the page read says 40 GB", "microbatch of 1", "ZeRO-1", "bf16", "1F1B",
                     "activations recomputed", "network of a DGX host"])


def nemotron_340b():
    model = dense("Nemotron-4 340B", 96, 18432, 96, 4096, 341, kv=8, ffn=73728, vocab=256000)
    for dp, seconds, batch in ((16, 10.3, 768), (32, 10.3, 1536), (64, 8.0, 2304)):
        add(f"nemotron4-340b-{96 * dp}", "Nemotron-4 340B technical report, table 2",
            f"arXiv 2406.11704, table 2, {96 * dp} GPUs", H100, 96 * dp, model, "bf16",
            {"tp": 8, "pp": 12, "dp": dp}, 1, batch, "Megatron-Core", seconds, PRINTED, vpp=8, sequence_parallel=True,
            zero_stage=1, schedule="interleaved 1F1B", attention_kernel="TE", internode_gbit_per_s_per_node=3200,
            assumed=["microbatch of 1", "one layer in each virtual stage", "sequence parallelism", "ZeRO-1",
                     "recompute as memory asks"])


def flash_attention_training():
    table = [("125M", 12, 768, 12, .124, 32, 256, 0, 1310e3), ("355M", 24, 1024, 16, .355, 16, 256, 0, 503e3),
             ("760M", 24, 1536, 16, .76, 16, 256, 1, 245e3), ("1.3B", 24, 2048, 16, 1.3, 8, 512, 1, 169e3),
             ("2.7B", 32, 2560, 20, 2.65, 4, 512, 1, 85e3)]
    for size, layers, hidden, heads, stated, micro, batch, zero, rate in table:
        add(f"flash-attention-gpt3-{size}", "FlashAttention training README",
            f"github Dao-AILab/flash-attention@0b037c2:training/README.md, GPT3-{size}", A100, 8,
            gpt(f"GPT3 {size}", layers, hidden, heads, 2048, stated, 50264), "bf16", {"dp": 8}, micro, batch,
            "PyTorch Lightning DDP (flash-attention)", batch * 2048 / rate, TOTAL, recompute="none", zero_stage=zero,
            attention_kernel="flash (v1)",
            assumed=["microbatch and ZeRO-1 of training/configs/experiment/pile on 80 GB", "shapes of the same files"])


def litgpt_thunder():
    model = dense("TinyLlama 1.1B", 22, 2048, 32, 2048, 1.1, kv=4, ffn=5632, gated=True, vocab=32000)
    for name, framework, seconds, memory in (("eager", "PyTorch FSDP (litgpt)", .45657, 22.13),
                                             ("thunder", "Lightning Thunder (litgpt)", .33356, 21.40)):
        add(f"litgpt-thunder-{name}", "litgpt Thunder extension README",
            f"github Lightning-AI/litgpt@059941f:extensions/thunder/README.md, ZeRO-3, {name}", A100_40, 8, model,
            "bf16", {"dp": 8}, 4, 32, framework, seconds, PRINTED + ", tenth step", zero_stage=3, sharding="FSDP",
            recompute="none", attention_kernel="flash", peak_memory_gb=memory,
            assumed=["microbatch of 4: no accumulation and a batch of 32", "sequence of 2048", "bf16",
                     "fused attention"])


def gh200():
    """Of the baseline search all jobs that ended, but the one that the sweep of attention kernels repeats and the one
    that ran out of memory later, with two that ran out of memory at once; of that sweep TransformerEngine's own two
    kernels at 1024 tokens and more, where at least four steps were counted."""
    shapes = {"8b": (32, 4096, 32, 14336, 128), "qwen3-14b": (40, 5120, 40, 17408, 128),
              "qwen2.5-32b": (64, 5120, 40, 27648, 128), "qwen3-32b": (64, 5120, 64, 25600, 80),
              "llama3-70b": (80, 8192, 64, 28672, 128), "qwen2.5-72b": (80, 8192, 64, 29568, 128),
              "140b": (80, 12288, 96, 32768, 128)}
    # job, model, tensor, pipeline, hosts, sequence, kernel, tokens/s of a GPU
    table = [(3383408, "8b", 1, 1, 1, 4096, "TE", 10700), (3383409, "qwen2.5-32b", 4, 1, 2, 4096, "TE", 2057),
             (3383410, "qwen2.5-32b", 4, 1, 4, 4096, "TE", 2014), (3383835, "qwen3-32b", 4, 1, 2, 4096, "TE", 2095),
             (3383848, "llama3-70b", 4, 4, 4, 4096, "TE", 1034), (3383847, "qwen2.5-72b", 4, 4, 4, 4096, "TE", 995),
             (3383415, "140b", 4, 4, 8, 4096, "TE", 582), (3383842, "qwen3-14b", 1, 1, 1, 4096, "TE", None),
             (3383837, "qwen2.5-72b", 4, 2, 4, 4096, "TE", None), (3395196, "qwen3-14b", 4, 1, 1, 1024, "TE", 1227),
             (3395200, "qwen3-14b", 4, 1, 1, 2048, "TE", 2429), (3395204, "qwen3-14b", 4, 1, 1, 4096, "TE", 3943),
             (3395208, "qwen3-14b", 4, 1, 1, 8192, "TE", 4215), (3395193, "qwen3-14b", 4, 1, 1, 1024, "torch", 1035),
             (3395197, "qwen3-14b", 4, 1, 1, 2048, "torch", 1998), (3395201, "qwen3-14b", 4, 1, 1, 4096, "torch", 2293),
             (3395205, "qwen3-14b", 4, 1, 1, 8192, "torch", None)]
    for job, name, tp, pp, hosts, seq, kernel, rate in table:
        layers, hidden, heads, ffn, head = shapes[name]
        model = dense(name, layers, hidden, heads, seq, kv=8, ffn=ffn, gated=True, vocab=50257, head_dim=head)
        gpus = 4 * hosts
        add(f"daint-gh200-{job}", "Throughput sweep on Daint's GH200",
            f"github Zeltrxn2333/lsaie-ss26-gipfelsturm@6ac4f5d:bench/results/sweep.csv, job {job}", GH200, gpus, model,
            "bf16", {"tp": tp, "pp": pp, "dp": gpus // tp // pp}, 2 if name == "8b" else 1, 256, "Megatron-Core",
            rate and of_gpu(rate, model, 256, gpus), PER_GPU if rate else None, per_node=4, zero_stage=1,
            sequence_parallel=tp > 1, recompute="none", attention_kernel=kernel, framework_version="core_v0.16.1",
            schedule="1f1b" if pp > 1 else None, internode_gbit_per_s_per_node=800,
            assumed=["batch of 256 and microbatch of launch-mp.sh",
                     "no recompute, as experiments/baseline-search.md says", "four NICs of 200 Gb/s in a host"]
            + (["heads of 80: the launcher sets no other size, and the printed FLOP/s are those of 80"]
               if name == "qwen3-32b" else [])
            + (["gradients and Adam's moments are of 16 bits, which a run cannot say"] if tp > 1 else [])
            + (["TransformerEngine's unfused attention keeps its scores"] if kernel == "torch" else []))


def together(table, page, name, **more):
    """Rows of (name, GPUs, model, precision, layout, microbatch, batch, seconds, recompute, virtual stages, doubt)."""
    for case, gpus, model, precision, layout, micro, batch, seconds, recompute, vpp, doubt in table:
        rest = gpus // (layout.get("tp", 1) * layout.get("pp", 1))
        assumed = ["eight NICs of 400 Gb/s in a host"] + ([] if recompute else ["recompute as memory asks"])
        add(f"together-{name}-{case}", f"Together AI B200 benchmarks, {name}",
            f"github togethercomputer/together-dgxc-benchmarking@{page}, {case}", B200, gpus, model, precision,
            {"dp": rest, **layout}, micro, batch, more["framework"], seconds, PRINTED, vpp=vpp, recompute=recompute,
            sequence_parallel=layout.get("tp", 1) > 1, zero_stage=more.get("zero", 1), attention_kernel="TE",
            sharding=more.get("sharding"), schedule="interleaved 1F1B" if vpp > 1 else None, suspect=doubt,
            framework_version=more.get("version", "container 26.02"), internode_gbit_per_s_per_node=3200,
            assumed=assumed + more.get("assumed", []))


def together_b200():
    model = dense("Nemotron-4 15B", 32, 6144, 48, 4096, 15.6, kv=8, ffn=24576, vocab=256000)
    table = [("bf16-64", 64, model, "bf16", {}, 2, 256, .930, None, 1, None),
             ("bf16-256", 256, model, "bf16", {}, 2, 1024, 1.015, None, 1, None),
             ("fp8-64", 64, model, "FP8", {}, 2, 256, .763, None, 1, None),
             ("fp8-256-gbs512", 256, model, "FP8", {}, 2, 512, .457, None, 1, None),
             ("fp8-256-gbs1024", 256, model, "FP8", {}, 2, 1024, .813, None, 1, None),
             ("fp8-256-gbs2048", 256, model, "FP8", {}, 2, 2048, 1.544, None, 1, None),
             ("fp8-256-gbs2560", 256, model, "FP8", {}, 2, 2560, 1.899, None, 1, None)]
    table += [(f"fp8-256-tp2-gbs{batch}", 256, model, "FP8", {"tp": 2}, 2, batch, seconds, None, 1,
               "collectives of tensor parallelism are not overlapped, which a run cannot say")
              for batch, seconds in ((512, .558), (1024, 1.063))]
    together(table, "d275be9:tests/b200/slurm/nemotron4-15b/results.md", "Nemotron-4 15B", framework="NeMo",
             assumed=["ZeRO-1", "microbatch of 2 in all rows"])
    table = [(str(gpus), gpus, LLAMA3_70B, "FP8", {}, 1, 2 * gpus, seconds, None, 1, None)
             for gpus, seconds in ((64, 4.63), (128, 4.66), (256, 4.93), (512, 5.39), (592, 5.59))]
    together(table, "d275be9:tests/b200/slurm/llama3.1-70b/fp8/results.md", "Llama 3.1 70B",
             framework="Megatron-Bridge", zero=3, sharding="FSDP",
             assumed=["FSDP over all, without which the model has no room", "the first of repeats"])
    model = llama3_405b(8192)
    table = [("pp16", 256, model, "NVFP4", {"tp": 4, "pp": 16}, 1, 1536, 79.10, "full", 8, None),
             ("pp8", 256, model, "NVFP4", {"tp": 4, "pp": 8}, 1, 1536, 62.10, "full", 4, None)]
    together(table, "d275be9:tests/b200/scripts/llama31_405b_nvfp4/report_new_megatron_bridge_2026-04-11.md",
             "Llama 3.1 405B", framework="Megatron-Bridge",
             assumed=["ZeRO-1", "layers to recompute are counted in a virtual stage, so all are",
                      "mean after the first step"])
    model = qwen3_235b(4096)
    shape = {"pp": 8, "ep": 8, "etp": 1}
    table = [("bf16", 256, model, "bf16", shape, 1, 8192, 37.8, None, 4, None),
             ("mxfp8", 256, model, "MXFP8", shape, 1, 8192, 50.7, None, 1, None),
             ("mxfp8-vp4", 256, model, "MXFP8", shape, 1, 8192, 50.2, None, 4, None)]
    together(table, "d275be9:tests/b200/slurm/qwen3-235b/results.md", "Qwen3 235B", framework="Megatron-Bridge",
             assumed=["ZeRO-1", "the batch of 8192 holds for MXFP8: FLOP/s times seconds are equal",
                      "sequence of 4096"])
    model = mixture("Grok-1 314B", 64, 6144, 48, 8192, 8, 8, 2, 32768, 131072)
    doubt = "collectives of tensor parallelism are not overlapped, which a run cannot say"
    table = [(precision, 256, model, precision, {"tp": 4, "pp": 4, "ep": 8, "etp": 1}, 1, 512, seconds, None, 8, doubt)
             for precision, seconds in (("bf16", 8.525), ("FP8", 6.964))]
    together(table, "661e8e1:worklog/2026-04-16_grok1_314b_benchmark.md", "Grok-1 314B", framework="NeMo",
             version="container 25.09", assumed=["ZeRO-1", "64 layers"])


def gb300_host():
    """Of Llama 3.1 8B the rows of the newer container, of Qwen3 all, without fallbacks and the second variant."""
    llama, qwen = llama3_8b(8192), qwen3_30b(4096)
    table = [(llama, "26.08.00", "NVFP4", 4, 64, 2.211), (llama, "26.08.00", "NVFP4", 4, 16, .575),
             (llama, "26.08.00", "NVFP4", 2, 8, .317), (llama, "26.08.00", "FP8", 4, 16, .810),
             (llama, "26.08.00", "FP8", 2, 8, .420), (qwen, "26.06.01", "bf16", 2, 256, 17.427),
             (qwen, "26.08.00", "FP8", 2, 256, 26.402), (qwen, "26.08.00", "bf16", 1, 256, 32.335),
             (qwen, "26.06.01", "bf16", 1, 256, 33.350), (qwen, "26.06.01", "FP8", 1, 256, 53.072)]
    for model, container, precision, micro, batch, seconds in table:
        moe = model is qwen
        add(f"gb300-host-{'qwen3' if moe else 'llama'}-{container}-{precision}-{micro}-{batch}",
            "Measured results of one GB300 host (fork of dgxc-benchmarking)",
            "github, fork of NVIDIA/dgxc-benchmarking: llama3.1/pretrain/megatron_bridge/single_node_docker/"
            f"perf_matrix, results of GB300, {model['name']}, {container}, {precision}, MBS {micro}, GBS {batch}", "GB300", 4,
            model, precision, {"dp": 4, "ep": 4 if moe else 1}, micro, batch, "Megatron-Bridge", seconds, PRINTED, per_node=4,
            zero_stage=1, attention_kernel="TE", framework_version=f"container {container}",
            assumed=["all four data parallel", "ZeRO-1", "recompute as memory asks"])


def qwen_on_gb200():
    model = dense("Qwen2.5 72B", 80, 8192, 64, 4096, 72.7, kv=8, ffn=29568, gated=True, vocab=152064)
    add("together-gb200-qwen2.5-72b", "Together AI GB200 racks, performance overview",
        "github togethercomputer/together-dgxc-benchmarking@0b86473:tests/gb200/reports/"
        "cluster-training-performance-overview-v3.md, Qwen 72B, rack 04, which it names as baseline", "GB200", 64, model,
        "bf16", {"tp": 8, "pp": 4, "dp": 2}, 2, 512, "Megatron-Bridge", 20.56, PRINTED + ", median", per_node=4,
        sequence_parallel=True, zero_stage=1, attention_kernel="TE", schedule="1f1b", framework_version="container 26.02",
        assumed=["no virtual stages", "ZeRO-1", "recompute as memory asks"])


def pytorch_blogs():
    """Without the row of 7B on A100, which is nearly that of the fms-fsdp page."""
    models = {"7B": (llama2_7b(4096), "none"), "13B": (LLAMA2_13B, "selective"),
              "34B": (dense("Code Llama 34B", 48, 8192, 64, 4096, 33.7, kv=8, ffn=22016, gated=True, vocab=32000), "full"),
              "70B": (LLAMA2_70B, "full")}
    # page, GPU, GPUs, network; tokens/s of a GPU, or MFU where it is below 1; doubt
    first, second = "maximizing-training, table 1", "maximizing-training-throughput, table"
    slow = "the page's figures without torch.compile are those another gives for 96 GPUs on a slower network"
    table = [("FSDP", first, A100, 128, 400, {"13B": 1800, "34B": 700, "70B": 370}, None),
             ("FSDP", first, H100, 96, 800, {"7B": 7500, "13B": 3800, "34B": 1550, "70B": 800}, None),
             ("compile", second + " 1", A100, 128, 400, {"7B": .68, "13B": .60, "34B": .54, "70B": .55}, None),
             ("compile", second + " 2", H100, 464, 3200, {"7B": .45, "13B": .43, "34B": .38, "70B": .38}, slow)]
    for name, page, gpu, gpus, network, rates, doubt in table:
        for size, rate in rates.items():
            model, recompute = models[size]
            peak = 312e12 if gpu == A100 else 989e12
            rate, formula = (rate, PER_GPU) if rate > 1 else (
                rate * peak / whole_square(model),
                "MFU, printed; 6 N + 12 L H Q T FLOPs of a token, which the first page's tokens/s and MFU agree with")
            some = "part of the layers is recomputed, which a run cannot say" if recompute == "selective" else None
            add(f"pytorch-blog-{name}-{gpu[:4]}-{size}",
                "PyTorch blog, training throughput with FSDP" + (" and torch.compile" if name == "compile" else ""),
                f"pytorch.org/blog/{page}, {size} on {gpus} {gpu[:4]}", gpu, gpus, model, "bf16", {"dp": gpus}, 2, 2 * gpus,
                "PyTorch FSDP (IBM)", of_gpu(rate, model, 2 * gpus, gpus), formula, zero_stage=3, sharding="FSDP",
                recompute=recompute, attention_kernel="flash", internode_gbit_per_s_per_node=network,
                assumed=["parameters divided over all GPUs", "batches are those of a GPU", "no accumulation", "SXM"]
                + (["recompute of the first page"] if name == "compile" else []), suspect=doubt or some)


def doubtful():
    """Sources of which every row is doubtful."""
    model = gpt("GPT-2 13B", 40, 5120, 128, 512, 13)
    for framework, rates in (("BMTrain", {8: 24.15, 16: 26.94, 24: 29.42, 32: 28.28}),
                             ("DeepSpeed (Megatron)", {8: 14.88, 16: 21.69, 24: 24.38})):
        for each, rate in rates.items():
            add(f"bmtrain-{framework.split()[0].lower()}-{each}", "BMTrain README",
                f"github OpenBMB/BMTrain@0437a5a:README.md, performance, {framework}, batch {each}",
                "V100-SXM2-32GB", 32, model, "fp16", {"dp": 32}, each, 32 * each, framework, 32 * each / rate,
                "samples/s, printed; batch/that", zero_stage=3, recompute="full", sharding="ZeRO-3",
                assumed=["V100 SXM2 of 32 GB", "batches are those of a GPU", "vocabulary of 51200"],
                suspect="the page calls its figures samples/s of a GPU, which no V100 reaches; all GPUs' are taken")
    yi = dense("Yi-34B", 60, 7168, 56, 8192, 34.4, kv=8, ffn=20480, gated=True, vocab=64000)
    table = [(llama2_7b(8192), 8, 1, 3028.3), (llama2_7b(32768), 8, 1, 2234.2), (yi, 32, 1, 485.1),
             ({**yi, "seq_len": 32768}, 32, 2, 491.5), ({**LLAMA2_70B, "seq_len": 8192}, 32, 1, 216.8),
             ({**LLAMA2_70B, "seq_len": 32768}, 32, 4, 300.9)]
    for model, gpus, cp, rate in table:
        seq = model["seq_len"]
        add(f"xtuner-{model['name'].replace(' ', '-')}-{seq}", "XTuner speed benchmark",
            f"github InternLM/xtuner@4d2758e:docs/zh_cn/acceleration/benchmark.rst, {model['name']}, {seq}", A100, gpus,
            model, "fp16", {"cp": cp, "dp": gpus // cp}, 1, gpus, "DeepSpeed (XTuner)", of_gpu(rate, model, gpus, gpus),
            PER_GPU, zero_stage=3, recompute="full", attention_kernel="flash_attention2",
            assumed=["ZeRO-3", "recompute", "as many samples accumulated as GPUs share a sequence"],
            suspect="short documents are packed and its configuration has attention within them only")
    model = qwen3_235b(16384)
    for name, framework, seconds, memory in (("torchtitan", "torchtitan", 5.04, 144),
                                             ("prime-rl", "PyTorch FSDP (prime-rl)", 4.39, 141)):
        add(f"prime-rl-qwen3-235b-{name}", "prime-rl benchmark configurations",
            f"github PrimeIntellect-ai/prime-rl:configs/benchmark/README.md, Qwen3 235B on 4 hosts, {name}", "B300-SXM",
            32, model, "bf16", {"dp": 32, "ep": 8}, 1, 32, framework, seconds, PRINTED, zero_stage=3, sharding="FSDP2",
            recompute="full", attention_kernel="flash", peak_memory_gb=memory, assumed=["network of the usual host"],
            suspect="short documents are packed, and attention is within them only")
    model = qwen3_30b(4096)
    for run, seconds, memory in (("r0_base", 7.9156, 222.7), ("cfg3", 6.4596, 223.3)):
        add(f"primus-qwen3-30b-{run}", "Primus Qwen3 30B on MI355X, end-to-end runs",
            "github AMD-AGI/Primus@fb0603b:agent/workspace/qwen3_fp8_tw_gfx950_20261010/e2e/results.md, "
            f"{run}, first and last that ended", "MI355X", 8, model, "FP8", {"dp": 8, "ep": 8}, 8, 512,
            "Megatron-LM (Primus)", seconds, PRINTED, zero_stage=1, peak_memory_gb=memory,
            assumed=["ZeRO-1", "recompute as memory asks"] + (["latest kernels of the table"] if run == "cfg3" else []),
            suspect=None if run == "r0_base" else "same configuration as the first row, with kernels written since")
    model = llama3_8b(8192)
    for precision, rate, memory in (("bf16", 8307.5, 33.71), ("MXFP8", 9969, 33.88), ("float8-tensorwise", 10417, 33.38)):
        add(f"torchtitan-mxfp8-{precision}", "torchtitan MXFP8 page",
            f"github pytorch/torchtitan, page on MXFP8 training, performance of dense models, {precision}", B200, 8, model,
            precision, {"dp": 8}, 1, 8, "torchtitan", of_gpu(rate, model, 8, 8), PER_GPU + "; median", zero_stage=3,
            sharding="FSDP2", recompute="selective", peak_memory_gb=memory,
            assumed=["Llama 3 8B", "tokens/s are those of a GPU"],
            suspect="the GPUs' power is limited, the page does not say to what; it does not name the model")
    q14 = dense("Qwen3 14B alike", 40, 5120, 40, 8192, kv=8, ffn=17408, gated=True, vocab=151936)
    q32 = dense("Qwen3 32B alike", 64, 5120, 64, 4096, kv=8, ffn=25600, gated=True, vocab=151936, head_dim=128)
    long = {**q32, "seq_len": 8192}
    table = [("H200-SXM-141GB", 8, q14, 4, 2, 4, 100, 46), ("H200-SXM-141GB", 8, q14, 8, 1, 4, 100, 41),
             ("NVIDIA H800", 32, q32, 2, 4, 1, 400, 47.27), ("NVIDIA H800", 32, q32, 4, 2, 2, 400, 44.73),
             ("NVIDIA H800", 32, q32, 8, 1, 2, 400, 36.11), ("NVIDIA H800", 32, long, 4, 2, 1, 400, 46.08),
             ("NVIDIA H800", 32, long, 8, 1, 1, 400, 37.40)]
    for gpu, gpus, model, tp, pp, micro, batch, mfu in table:
        add(f"twist-{gpu.split()[-1][:4]}-tp{tp}pp{pp}-{model['seq_len']}",
            "DHelix-AI, blog post on TWIST", f"post that introduces TWIST (github DHelix-AI/dhelix), Megatron, {gpus} "
            f"GPUs, TP{tp} PP{pp}, {model['seq_len']}", gpu, gpus, model, "bf16",
            {"tp": tp, "pp": pp, "dp": gpus // tp // pp}, micro, batch, "Megatron-Core",
            model_flops(model) * model["seq_len"] * batch / gpus / (mfu / 100 * 989e12),
            "MFU of 989 TFLOP/s, printed; 6 N + 6 L H Q T FLOPs of a token", sequence_parallel=tp > 1, zero_stage=1,
            attention_kernel="flash (v3)", schedule="1f1b" if pp > 1 else None, framework_version="0.14",
            assumed=["layers and vocabulary of Qwen3", "ZeRO-1", "recompute as memory asks", "bf16"],
            suspect="the FLOPs behind the MFU are not stated")


if __name__ == "__main__":
    write("held_out_runs_3.json.gz",
          [megatron_v1, mt_nlg, nemotron_340b, flash_attention_training, litgpt_thunder, gh200, together_b200, gb300_host,
           qwen_on_gb200, pytorch_blogs, doubtful])
