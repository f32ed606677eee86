#include "graphs/builders.hpp"
#include "graphs/model_draft.hpp"

namespace meshloom {

TransformerOptions as_transformer(const LlamaOptions& options) {
  TransformerOptions result;
  result.name = options.name;
  result.layers = options.layers;
  result.hidden = options.hidden;
  result.heads = options.heads;
  result.kv_heads = options.kv_heads;
  result.head_dim = options.head_dim;
  result.seq_len = options.seq_len;
  result.vocab = options.vocab;
  result.ffn_hidden = options.ffn_hidden;
  result.pad_vocab_to = options.pad_vocab_to;
  result.tied_embeddings = options.tied_embeddings;
  result.fused_attention = options.fused_attention;
  result.causal = options.causal;
  result.dtype = options.dtype;
  return result;
}

Graph build_llama(const LlamaOptions& options) {
  require_at_least("kv-heads", options.kv_heads, 1);
  require_at_least("ffn-hidden", options.ffn_hidden, 1);
  return build_transformer(as_transformer(options));
}

}  // namespace meshloom
