// Pieces that attention, MLPs and experts share. Names begin with the draft's layer; each returns the id of its result.
#pragma once

#include <string>
#include <vector>

#include "graphs/model_draft.hpp"
#include "graphs/transformer.hpp"

namespace meshloom {

// Over the last dimension of `dims` ("b s h~"), which is also the weight's.
std::string add_norm(ModelDraft& model, NormKind kind, const std::string& name, const std::string& x,
                     const std::string& dims);

// A weight "name.weight" of the shape, times x.
std::string add_product(ModelDraft& model, const std::string& name, const std::string& x,
                        const std::vector<std::string>& shape, const std::string& rule);

// A bias "name.bias" of the shape, added to x.
std::string add_bias(ModelDraft& model, const std::string& name, const std::string& x,
                     const std::vector<std::string>& shape, const std::string& rule);

// "name.gelu" and the like.
std::string add_activation(ModelDraft& model, Activation activation, const std::string& name, const std::string& x,
                           const std::string& dims);

}  // namespace meshloom
