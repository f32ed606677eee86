#include "graphs/builders.hpp"

namespace meshloom {

TransformerOptions as_transformer(const GptOptions& options) {
  TransformerOptions result;
  result.name = options.name;
  result.layers = options.layers;
  result.hidden = options.hidden;
  result.heads = options.heads;
  result.seq_len = options.seq_len;
  result.vocab = options.vocab;
  result.ffn_hidden = options.ffn_hidden;
  result.pad_vocab_to = options.pad_vocab_to;
  result.gated_mlp = false;
  result.activation = Activation::gelu;
  result.norm = NormKind::layer_norm;
  result.attention_biases = AttentionBiases::all;
  result.mlp_biases = true;
  result.positions = PositionKind::learned;
  result.tied_embeddings = options.tied_embeddings;
  result.dropout = options.dropout;
  result.fused_attention = options.fused_attention;
  result.causal = options.causal;
  result.dtype = options.dtype;
  return result;
}

Graph build_gpt(const GptOptions& options) { return build_transformer(as_transformer(options)); }

}  // namespace meshloom
