#include "tests/device_content.hpp"

#include <functional>
#include <numeric>

namespace meshloom::simulated {
namespace {

std::int64_t count_of(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t(1), std::multiplies<>());
}

// Elements behind a dimension: a block is outer × size × inner.
std::int64_t inner_of(const std::vector<std::int64_t>& shape, std::size_t dimension) {
  std::int64_t count = 1;
  for (std::size_t i = dimension + 1; i < shape.size(); ++i) count *= shape[i];
  return count;
}

bool in(unsigned set, std::size_t axis) { return (set >> axis & 1U) != 0; }

bool is_sharded(const Layout& state, std::size_t axis) { return state.axes[axis].kind == LayoutKind::sharded; }

unsigned partial_axes(const Layout& state, const Devices& devices) {
  unsigned set = 0;
  for (std::size_t axis = 0; axis < devices.axes(); ++axis)
    if (state.axes[axis] == partial) set |= 1U << axis;
  return set;
}

// A device's number among the members of its group, major axis first.
std::int64_t rank_in(unsigned set, const Devices& devices, std::size_t device) {
  std::int64_t rank = 0;
  for (std::size_t axis = 0; axis < devices.axes(); ++axis)
    if (in(set, axis)) rank = rank * devices.sizes[axis] + devices.coordinate(device, axis);
  return rank;
}

std::vector<std::size_t> members(unsigned set, const Devices& devices, std::size_t device) {
  std::vector<std::size_t> result{device};
  for (std::size_t axis = 0; axis < devices.axes(); ++axis) {
    if (!in(set, axis)) continue;
    std::vector<std::size_t> more;
    for (const std::size_t member : result)
      for (std::int64_t i = 0; i < devices.sizes[axis]; ++i) more.push_back(devices.moved(member, axis, i));
    result = std::move(more);
  }
  return result;
}

// The part of a block that goes to `receiver`, cut along the dimensions of `state` by the axes of the set.
Block part_for(std::size_t receiver, Block block, unsigned set, const Layout& state, const Devices& devices) {
  for (std::size_t axis = 0; axis < devices.axes(); ++axis)
    if (in(set, axis) && is_sharded(state, axis))
      block = sliced(block, state.axes[axis].dimension, devices.coordinate(receiver, axis), devices.sizes[axis]);
  return block;
}

// What the members of a group give, put together along the dimensions of `state`.
Block assembled(std::size_t device, unsigned set, const Layout& state, const Devices& devices,
                const std::function<Block(std::size_t)>& given) {
  for (std::size_t axis = 0; axis < devices.axes(); ++axis) {
    if (!in(set, axis) || !is_sharded(state, axis)) continue;
    std::vector<Block> blocks;
    for (std::int64_t i = 0; i < devices.sizes[axis]; ++i)
      blocks.push_back(assembled(devices.moved(device, axis, i), set & ~(1U << axis), state, devices, given));
    return concatenated(blocks, state.axes[axis].dimension);
  }
  return given(device);
}

Block sum_over(unsigned set, std::size_t device, const Contents& contents, const Devices& devices) {
  Block sum = zeros(contents[device].shape);
  for (const std::size_t member : members(set, devices, device)) sum = plus(sum, contents[member]);
  return sum;
}

// One device of a group keeps what all have, or each keeps its tile; the rest of what it holds is zero.
Block kept(std::size_t device, unsigned set, const Layout& before, const Contents& contents, const Devices& devices) {
  bool keeps = true;
  for (std::size_t axis = 0; axis < devices.axes(); ++axis)
    if (in(set, axis) && !is_sharded(before, axis)) keeps = keeps && devices.coordinate(device, axis) == 0;
  return assembled(device, set, before, devices, [&](std::size_t member) {
    return member == device && keeps ? contents[device] : zeros(contents[device].shape);
  });
}

// The shard that a device has in a state: the number of its tile by dimension and, in front, which it is of the
// summands that the group holds.
std::vector<std::int64_t> shard_of(const Layout& state, unsigned set, const Devices& devices, std::size_t device) {
  std::vector<std::int64_t> shard(1 + 10, 0);
  shard[0] = rank_in(set & partial_axes(state, devices), devices, device);
  for (std::size_t axis = 0; axis < devices.axes(); ++axis) {
    if (!is_sharded(state, axis)) continue;
    std::int64_t& number = shard[1U + state.axes[axis].dimension];
    number = number * devices.sizes[axis] + devices.coordinate(device, axis);
  }
  return shard;
}

Block fetched(std::size_t device, unsigned set, const Layout& before, const Layout& after, const Contents& contents,
              const Devices& devices) {
  const std::vector<std::int64_t> wanted = shard_of(after, set, devices, device);
  for (const std::size_t member : members(set, devices, device))
    if (shard_of(before, set, devices, member) == wanted) return contents[member];
  throw CannotSplit{};
}

}  // namespace

Block zeros(const std::vector<std::int64_t>& shape) {
  return {shape, std::vector<std::int64_t>(static_cast<std::size_t>(count_of(shape)), 0)};
}

Block plus(const Block& a, const Block& b) {
  if (a.shape != b.shape) throw CannotSplit{};
  Block sum = a;
  for (std::size_t i = 0; i < b.values.size(); ++i) sum.values[i] += b.values[i];
  return sum;
}

Block sliced(const Block& block, std::size_t dimension, std::int64_t part, std::int64_t parts) {
  if (block.shape[dimension] % parts != 0) throw CannotSplit{};
  Block result{block.shape, {}};
  result.shape[dimension] /= parts;
  const std::int64_t run = result.shape[dimension] * inner_of(block.shape, dimension);
  result.values.reserve(block.values.size() / static_cast<std::size_t>(parts));
  for (std::int64_t start = part * run; start < count_of(block.shape); start += parts * run)
    result.values.insert(result.values.end(), block.values.begin() + start, block.values.begin() + start + run);
  return result;
}

Block concatenated(const std::vector<Block>& blocks, std::size_t dimension) {
  Block result{blocks.front().shape, {}};
  result.shape[dimension] *= static_cast<std::int64_t>(blocks.size());
  const std::int64_t run = blocks.front().shape[dimension] * inner_of(blocks.front().shape, dimension);
  for (std::int64_t start = 0; start < count_of(blocks.front().shape); start += run)
    for (const Block& block : blocks)
      result.values.insert(result.values.end(), block.values.begin() + start, block.values.begin() + start + run);
  return result;
}

Block product(const Block& a, const Block& b) {
  const std::int64_t rows = a.shape[0], depth = a.shape[1], columns = b.shape[1];
  if (depth != b.shape[0]) throw CannotSplit{};
  Block result = zeros({rows, columns});
  const auto at = [](const Block& m, std::int64_t i, std::int64_t j) {
    return m.values[std::size_t(i * m.shape[1] + j)];
  };
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j)
      for (std::int64_t k = 0; k < depth; ++k) result.values[std::size_t(i * columns + j)] += at(a, i, k) * at(b, k, j);
  return result;
}

Block transposed(const Block& matrix) {
  Block result = zeros({matrix.shape[1], matrix.shape[0]});
  for (std::int64_t i = 0; i < matrix.shape[0]; ++i)
    for (std::int64_t j = 0; j < matrix.shape[1]; ++j)
      result.values[std::size_t(j * matrix.shape[0] + i)] = matrix.values[std::size_t(i * matrix.shape[1] + j)];
  return result;
}

Block example_tensor(const std::vector<std::int64_t>& shape, std::int64_t seed) {
  Block result = zeros(shape);
  for (std::size_t i = 0; i < result.values.size(); ++i) {
    const auto n = static_cast<std::int64_t>(i);
    result.values[i] = n * n + (2 * seed + 1) * n + seed + 1;
  }
  return result;
}

std::size_t Devices::count() const { return static_cast<std::size_t>(count_of(sizes)); }

std::int64_t Devices::coordinate(std::size_t device, std::size_t axis) const {
  return static_cast<std::int64_t>(device) / inner_of(sizes, axis) % sizes[axis];
}

std::size_t Devices::moved(std::size_t device, std::size_t axis, std::int64_t to) const {
  return device + static_cast<std::size_t>((to - coordinate(device, axis)) * inner_of(sizes, axis));
}

Devices devices_of(const DeviceMesh& mesh) {
  Devices devices;
  for (const MeshAxis& axis : mesh.axes) devices.sizes.push_back(axis.size);
  return devices;
}

Layout value_state(const Layout& layout) {
  Layout state = layout;
  for (AxisLayout& axis : state.axes)
    if (axis == replicated_partial_gradient) axis = replicated;
  return state;
}

Layout gradient_state(const Layout& layout) {
  Layout state = layout;
  for (AxisLayout& axis : state.axes) {
    if (axis == replicated_partial_gradient)
      axis = partial;
    else if (axis == partial)
      axis = replicated;
  }
  return state;
}

unsigned changed_axes(const Layout& before, const Layout& after) {
  unsigned set = 0;
  for (std::size_t axis = 0; axis < max_mesh_axes; ++axis)
    if (before.axes[axis] != after.axes[axis]) set |= 1U << axis;
  return set;
}

Block tile(const Block& tensor, const Layout& state, const Devices& devices, std::size_t device) {
  return part_for(device, tensor, ~0U, state, devices);
}

Contents contents_in(const Layout& state, const Block& tensor, const Devices& devices) {
  const unsigned summed = partial_axes(state, devices);
  std::int64_t summands = 1;
  for (std::size_t axis = 0; axis < devices.axes(); ++axis)
    if (in(summed, axis)) summands *= devices.sizes[axis];
  std::vector<Block> parts(static_cast<std::size_t>(summands), tensor);
  for (std::size_t part = 1; part < parts.size(); ++part)
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      parts[part].values[i] = static_cast<std::int64_t>((part * 7919 + i * 104729) % 1009) - 500;
      parts[0].values[i] -= parts[part].values[i];
    }
  Contents contents;
  for (std::size_t device = 0; device < devices.count(); ++device)
    contents.push_back(tile(parts[static_cast<std::size_t>(rank_in(summed, devices, device))], state, devices, device));
  return contents;
}

bool conform(const Contents& contents, const Layout& state, const Block& tensor, const Devices& devices) {
  const unsigned summed = partial_axes(state, devices);
  for (std::size_t device = 0; device < devices.count(); ++device) {
    const Block expected = tile(tensor, state, devices, device);
    if (summed == 0) {
      if (contents[device] != expected) return false;
      continue;
    }
    for (const std::size_t member : members(summed, devices, device))
      if (contents[member].shape != expected.shape) return false;
    if (sum_over(summed, device, contents, devices) != expected) return false;
  }
  return true;
}

bool divides_evenly(const Layout& state, const std::vector<std::int64_t>& shape, const Devices& devices) {
  std::vector<std::int64_t> rest = shape;
  for (std::size_t axis = 0; axis < devices.axes(); ++axis) {
    if (!is_sharded(state, axis)) continue;
    std::int64_t& size = rest[state.axes[axis].dimension];
    if (size % devices.sizes[axis] != 0) return false;
    size /= devices.sizes[axis];
  }
  return true;
}

Contents moved(MoveKind kind, unsigned set, const Layout& before, const Layout& after, const Contents& contents,
               const Devices& devices) {
  const auto result_of = [&](std::size_t device) -> Block {
    const auto content = [&](std::size_t member) { return contents[member]; };
    switch (kind) {
      case MoveKind::slice:
        return part_for(device, contents[device], set, after, devices);
      case MoveKind::keep_one:
        return kept(device, set, before, contents, devices);
      case MoveKind::all_gather:
        return assembled(device, set, before, devices, content);
      case MoveKind::reduce_scatter:
        return part_for(device, sum_over(set, device, contents, devices), set, after, devices);
      case MoveKind::all_reduce:
        return sum_over(set, device, contents, devices);
      case MoveKind::all_to_all:
        return assembled(device, set, before, devices,
                         [&](std::size_t member) { return part_for(device, contents[member], set, after, devices); });
      case MoveKind::permute:
        return fetched(device, set, before, after, contents, devices);
    }
    return {};
  };
  Contents result;
  for (std::size_t device = 0; device < devices.count(); ++device) result.push_back(result_of(device));
  return result;
}

}  // namespace meshloom::simulated
