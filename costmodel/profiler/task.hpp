// What is to be measured: one operator at one shape or one collective of one group at one size, in the terms of a
// profile (costmodel/profile.hpp).
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "costmodel/profile.hpp"

namespace meshloom {

struct OperatorTask {
  OperatorKey key;
  std::vector<std::int64_t> shape;  // by shape_names
  // Elements of a row where the shape does not say it: of a bias that `add` adds to every row (0: both operands are
  // whole), of a table's rows (gather), of what `sum` adds up (0: everything), of a head (rotary).
  std::int64_t row = 0;
  bool operator==(const OperatorTask&) const = default;
};

struct CollectiveTask {
  CollectiveKey key;
  std::int64_t bytes = 0;
  bool operator==(const CollectiveTask&) const = default;
};

using Task = std::variant<OperatorTask, CollectiveTask>;

// "gemm fp32 nn batch=1 m=1024 n=512 k=512", "all_reduce 1x8 bytes=1048576". Two tasks of one text have one place in a
// profile.
std::string describe(const Task& task);

// The rows and columns behind the bytes of a kind that counts them: of one operand with as many elements as the result.
// The inverse of what the work list counts; the nearest whole number of rows, at least one.
struct RowShape {
  std::int64_t rows = 1, columns = 1;
  std::int64_t elements() const { return rows * columns; }
};
RowShape rows_of(const OperatorTask& task);

// Floating-point operations of one run; 0 for kinds that are priced by bytes.
Flops flops_of(const OperatorTask& task);

}  // namespace meshloom
