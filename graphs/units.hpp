// Physical quantities as types: bytes, floating-point operations and seconds, and what one gets by multiplying and
// dividing them. Conversions to and from plain numbers happen where JSON is read or written, nowhere else.
//
//   Seconds t = link.latency + size / link.bandwidth;
//
// The header lies with the graph, the lowest library, because a graph already counts bytes and operations.
#pragma once

#include <compare>

namespace meshloom {

template <int byte, int flop, int second>
class Quantity {
 public:
  constexpr Quantity() = default;
  constexpr explicit Quantity(double value) : value_(value) {}
  constexpr double value() const { return value_; }  // in bytes^byte · flops^flop · seconds^second

  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity& operator+=(Quantity other) { return value_ += other.value_, *this; }
  constexpr Quantity& operator-=(Quantity other) { return value_ -= other.value_, *this; }
  constexpr Quantity& operator*=(double factor) { return value_ *= factor, *this; }

  friend constexpr Quantity operator+(Quantity a, Quantity b) { return Quantity(a.value_ + b.value_); }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return Quantity(a.value_ - b.value_); }
  friend constexpr Quantity operator*(double factor, Quantity a) { return Quantity(factor * a.value_); }
  friend constexpr Quantity operator*(Quantity a, double factor) { return Quantity(a.value_ * factor); }
  friend constexpr Quantity operator/(Quantity a, double divisor) { return Quantity(a.value_ / divisor); }
  friend constexpr double operator/(Quantity a, Quantity b) { return a.value_ / b.value_; }

 private:
  double value_ = 0;
};

template <int b1, int f1, int s1, int b2, int f2, int s2>
constexpr auto operator*(Quantity<b1, f1, s1> a, Quantity<b2, f2, s2> b) {
  return Quantity<b1 + b2, f1 + f2, s1 + s2>(a.value() * b.value());
}
template <int b1, int f1, int s1, int b2, int f2, int s2>
requires(b1 != b2 || f1 != f2 || s1 != s2) constexpr auto operator/(Quantity<b1, f1, s1> a, Quantity<b2, f2, s2> b) {
  return Quantity<b1 - b2, f1 - f2, s1 - s2>(a.value() / b.value());
}

using Bytes = Quantity<1, 0, 0>;
using Flops = Quantity<0, 1, 0>;
using Seconds = Quantity<0, 0, 1>;
using BytesPerSecond = Quantity<1, 0, -1>;
using FlopsPerSecond = Quantity<0, 1, -1>;

}  // namespace meshloom
