#include <fmt/format.h>

#include <array>

#include "graphs/builders.hpp"
#include "graphs/input_error.hpp"
#include "graphs/model_draft.hpp"

namespace meshloom {
namespace {

using BlockCounts = std::array<std::int64_t, 4>;

BlockCounts blocks_of(std::int64_t depth) {
  switch (depth) {
    case 50:
      return {3, 4, 6, 3};
    case 101:
      return {3, 4, 23, 3};
    case 152:
      return {3, 8, 36, 3};
    default:
      throw InputError("--depth", fmt::format("must be 50, 101 or 152, is {}", depth));
  }
}

// Factors: b sample, y x position of the result, u v stride, c channel of the operand, o of the result, i j of the
// kernel.
class WresnetBuilder {
 public:
  explicit WresnetBuilder(const WresnetOptions& options) : options_(options), model_(options.name, options.dtype) {}

  Graph build() {
    const BlockCounts counts = blocks_of(options_.depth);
    require_at_least("base-channels", options_.base_channels, 1);
    require_at_least("width", options_.width, 1);
    require_at_least("image-size", options_.image_size, 32);
    require_at_least("classes", options_.classes, 1);
    if (options_.image_size % 32 != 0)
      throw InputError("--image-size", fmt::format("{} is not a multiple of 32, the product of the model's strides",
                                                   options_.image_size));
    std::string x = stem();
    std::int64_t block = 0, filters = options_.base_channels;
    for (std::size_t group = 0; group < counts.size(); ++group, filters *= 2)
      for (std::int64_t i = 0; i < counts[group]; ++i) {
        model_.layer(fmt::format("b{}", block++));
        x = bottleneck(x, filters, group > 0 && i == 0 ? 2 : 1);
      }
    head(x);
    return model_.build();
  }

 private:
  struct Convolution {
    std::int64_t channels, kernel, stride;
  };

  // With its batch norm.
  std::string conv(const std::string& name, const std::string& x, std::int64_t from, const Convolution& to) {
    const std::string kernel = std::to_string(to.kernel);
    const std::string weight =
        model_.parameter(name + ".weight", {std::to_string(to.channels), std::to_string(from), kernel, kernel});
    const std::string result =
        model_.op(name, OpKind::conv, {x, weight},
                  to.stride == 1 ? "b c y^ x^, o c i j -> b o y x" : "b c (y^ u!) (x^ v!), o c i j -> b o y x");
    if (to.stride > 1) set_stride(to.stride);
    return norm(name + ".norm", result, to.channels);
  }

  void set_stride(std::int64_t stride) {
    model_.last_op().sizes = {{"u", std::to_string(stride)}, {"v", std::to_string(stride)}};
  }

  std::string norm(const std::string& name, const std::string& x, std::int64_t channels) {
    const std::string scale = model_.parameter(name + ".weight", {std::to_string(channels)});
    const std::string bias = model_.parameter(name + ".bias", {std::to_string(channels)});
    return model_.op(name, OpKind::batch_norm, {x, scale, bias}, "b~ c y~ x~, c, c -> b c y x");
  }

  std::string relu(const std::string& name, const std::string& x) {
    return model_.op(name, OpKind::relu, {x}, "b c y x -> b c y x");
  }

  std::string stem() {
    model_.layer("stem");
    const std::string size = std::to_string(options_.image_size);
    const std::string images = model_.input("images", {"b", "3", size, size}, options_.dtype);
    channels_ = options_.base_channels;
    const std::string x = relu("relu", conv("conv", images, 3, {channels_, 7, 2}));
    const std::string pooled = model_.op("pool", OpKind::max_pool, {x}, "b c (y^ u!) (x^ v!) -> b c y x");
    set_stride(2);
    return pooled;
  }

  std::string bottleneck(const std::string& x, std::int64_t filters, std::int64_t stride) {
    const std::int64_t wide = filters * options_.width, out = 4 * filters;
    std::string y = relu("relu1", conv("conv1", x, channels_, {filters, 1, 1}));
    y = relu("relu2", conv("conv2", y, filters, {wide, 3, stride}));
    y = conv("conv3", y, wide, {out, 1, 1});
    const std::string kept = channels_ == out && stride == 1 ? x : conv("shortcut", x, channels_, {out, 1, stride});
    channels_ = out;
    return relu("relu3", model_.op("residual", OpKind::add, {y, kept}, "b c y x, b c y x -> b c y x"));
  }

  void head(const std::string& x) {
    model_.layer("head");
    const std::string sums = model_.op("pool", OpKind::sum, {x}, "b c y x -> b c");
    const std::string means = model_.op("mean", OpKind::scale, {sums}, "b c -> b c");
    const std::string classes = std::to_string(options_.classes);
    const std::string weight = model_.parameter("logits.weight", {std::to_string(channels_), classes});
    const std::string logits = model_.op("logits", OpKind::einsum, {means, weight}, "b c, c v -> b v");
    const std::string bias = model_.parameter("logits.bias", {classes});
    const std::string biased = model_.op("logits.add_bias", OpKind::add, {logits, bias}, "b v, v -> b v");
    const std::string labels = model_.input("labels", {"b"}, DType::int32);
    const std::string losses = model_.op("sample_loss", OpKind::cross_entropy, {biased, labels}, "b v~, b -> b");
    model_.op("loss", OpKind::sum, {losses}, "b -> ");
  }

  const WresnetOptions& options_;
  ModelDraft model_;
  std::int64_t channels_ = 0;  // of what the last layer made
};

}  // namespace

Graph build_wresnet(const WresnetOptions& options) { return WresnetBuilder(options).build(); }

}  // namespace meshloom
