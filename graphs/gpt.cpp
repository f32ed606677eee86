#include <fmt/format.h>

#include "graphs/gpt_parts.hpp"

namespace meshloom {

Graph build_gpt(const GptOptions& options) {
  ModelDraft model(options.name, options.dtype);
  GptParts parts(options, model);
  parts.declare_dims();
  std::string x = parts.embedding();
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    model.layer(fmt::format("h{}", layer));
    x = parts.residual("attn", parts.attention(parts.norm("ln1", x)), x);
    x = parts.residual("mlp", parts.mlp(parts.norm("ln2", x)), x);
  }
  parts.head(x);
  return model.build();
}

}  // namespace meshloom
