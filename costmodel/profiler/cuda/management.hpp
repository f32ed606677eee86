// NVIDIA's management library, if the driver brought it: versions, clocks and why they are low. Loaded at run time,
// because machines that build the program have no driver.
#pragma once

#include <string>

namespace meshloom::cuda {

class Management {
 public:
  Management();
  ~Management();
  Management(const Management&) = delete;
  Management& operator=(const Management&) = delete;

  std::string driver_version() const;      // "" when unknown
  std::string state_of(int device) const;  // "SM 1980 MHz, memory 2619 MHz, 412 W, not throttled"; "" when unknown

 private:
  void* library_ = nullptr;
};

}  // namespace meshloom::cuda
