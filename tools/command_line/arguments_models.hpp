// Options of models that several commands share.
#pragma once

#include "tools/command_line/arguments_parts.hpp"

namespace meshloom {

inline void add_dtype(CLI::App& app, DType& dtype) {
  add_choice(app, "--dtype", {"bf16", "fp16", "fp32"}, "Type of weights and activations; bf16 unless told",
             [&dtype](const std::string& text) { dtype = *dtype_named(text); });
}

// The options that the transformers share; `Options` is GptOptions, LlamaOptions or TransformerOptions.
template <typename Options>
void add_model(CLI::App& app, Options& options) {
  app.add_option("--name", options.name, "Name of the graph")->type_name("TEXT");
  add_integer(app, "--layers", options.layers, most_layers,
              fmt::format("Transformer layers; {} unless told", options.layers));
  add_integer(app, "--hidden", options.hidden, most_size, fmt::format("Hidden size; {} unless told", options.hidden));
  add_integer(app, "--heads", options.heads, most_heads, fmt::format("Attention heads; {} unless told", options.heads));
  add_integer(app, "--seq-len", options.seq_len, most_tokens,
              fmt::format("Tokens per sample; {} unless told", options.seq_len));
  add_integer(app, "--vocab", options.vocab, most_tokens, fmt::format("Vocabulary; {} unless told", options.vocab));
  add_integer(app, "--pad-vocab-to", options.pad_vocab_to, most_tokens, "Round the vocabulary up to a multiple of N");
  app.add_flag("--tied-embeddings,!--untied-embeddings", options.tied_embeddings,
               options.tied_embeddings ? "Logits use the embedding's weights (the default)"
                                       : "Logits use the embedding's weights (not by default)");
  app.add_flag("--fused-attention,!--unfused-attention", options.fused_attention,
               "Attention as one kernel (the default), or as its single operators");
  app.add_flag("--causal", options.causal, "Fused attention computes only the lower triangle");
  add_dtype(app, options.dtype);
}

}  // namespace meshloom
