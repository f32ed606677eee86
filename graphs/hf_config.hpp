// Models from the config.json of Hugging Face's transformers.
#pragma once

#include <string>

#include "graphs/transformer.hpp"

namespace meshloom {

// What docs/hf_config.md lists is read, other keys are ignored. `seq_len` is 4096, or the longest that the model takes
// where that is less; learned positions: the longest. Throws InputError with the place: an unknown model_type (with the
// list of those known), a missing size, values that contradict each other or that the builder lacks.
TransformerOptions read_hf_config(const std::string& path);
TransformerOptions parse_hf_config(const std::string& text, const std::string& file);

}  // namespace meshloom
