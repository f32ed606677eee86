// What the builders share: filling a draft op by op. An op's result has the op's name; a parameter has its op's name
// and a suffix ("h0.mlp.up.weight").
#pragma once

#include <string>
#include <vector>

#include "graphs/graph_draft.hpp"

namespace meshloom {

class ModelDraft {
 public:
  // Batch dimension "b".
  ModelDraft(const std::string& name, DType dtype);

  void dim(const std::string& name, std::int64_t size);
  // Ops from here on carry this tag, and their names begin with it.
  void layer(const std::string& name);

  std::string input(const std::string& id, const std::vector<std::string>& shape, DType dtype);
  // `name` is put behind the layer's; returns the id.
  std::string parameter(const std::string& name, const std::vector<std::string>& shape);
  // Declares a result that is not of the graph's dtype; likewise.
  std::string intermediate(const std::string& name, const std::vector<std::string>& shape, DType dtype);
  // Returns the id of the result.
  std::string op(const std::string& name, OpKind kind, const std::vector<std::string>& inputs, const std::string& rule);
  // The op added last; for what few ops need.
  OpDraft& last_op() { return draft_.ops.back(); }

  // The vocabulary rounded up to a multiple; sets the dim "v" and what was added.
  void vocabulary(std::int64_t size, std::int64_t pad_to);
  // Cross-entropy of the logits [b, s, v] against the input "labels", and its sum.
  void loss(const std::string& logits);

  Graph build() const;

 private:
  GraphDraft draft_;
  std::string layer_;
};

// Throws InputError naming the option when `value` is below `least`.
void require_at_least(const std::string& option, std::int64_t value, std::int64_t least);
// Throws InputError naming both options when `value` is above `most`.
void require_at_most(const std::string& option, std::int64_t value, const std::string& most_option, std::int64_t most);
// Throws InputError naming both options when `part` does not divide `whole`.
void require_divides(const std::string& part_option, std::int64_t part, const std::string& whole_option,
                     std::int64_t whole);

}  // namespace meshloom
