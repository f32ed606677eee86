// Links whose bandwidth is shared by the transfers under way, max-min fairly [Bertsekas, Gallager 1992, section 6.5.2].
//
// A transfer is a number of picoseconds of work: what it takes when it goes at full speed, 1. On each link of its route
// it takes a share of the link's capacity, in proportion to its speed. All speeds rise together; where a link is full,
// those on it stay as they are and the others rise on. So two equal transfers over one link go at half speed, and both
// take as long as one of double size; transfers over different links do not slow each other.
//
// Transfers are known by slots: small numbers that the owner gives, one transfer under way in each.
#pragma once

#include <cstdint>
#include <vector>

namespace meshloom {

using Picoseconds = std::int64_t;

struct LinkShare {
  std::uint32_t link = 0;
  double share = 1;  // of the link's capacity, at full speed; above 0
  bool operator==(const LinkShare&) const = default;
};

// What a transfer occupies; without links it is never slowed.
struct Route {
  std::vector<LinkShare> links;
  Picoseconds latency = 0;  // the part of its time that occupies no link, after the rest
  bool operator==(const Route&) const = default;
};

class SharedLinks {
 public:
  SharedLinks(std::size_t links, std::size_t slots);

  // A transfer that now ends at another time.
  struct Ending {
    std::size_t slot = 0;
    Picoseconds time = 0;
  };

  // Starts a transfer; the route must live as long as it. Yields when it and each that shares links with it, directly
  // or over others, will leave their links if nothing else starts or leaves. Valid until the next call.
  const std::vector<Ending>& start(std::size_t slot, const Route& route, Picoseconds work, Picoseconds now);
  // The transfer leaves its links, at the time that was last said for it. Yields the new ends of those it had slowed.
  const std::vector<Ending>& finish(std::size_t slot, Picoseconds now);

 private:
  struct Transfer {
    const Route* route = nullptr;
    double remaining = 0;  // work, at `since`
    double speed = 1;
    Picoseconds since = 0, end = 0;
    bool visited = false;
  };

  bool is_shared(const Route& route) const;
  void collect(std::size_t slot);  // into component_: all that share links, directly or over others
  void set_speeds();
  void share_again(Picoseconds now);

  std::vector<std::vector<std::uint32_t>> on_link_;  // slots
  std::vector<Transfer> transfers_;                  // by slot
  std::vector<std::size_t> component_;               // ascending
  std::vector<double> free_, wanted_;                // by link, while speeds are set
  std::vector<Ending> endings_;
};

}  // namespace meshloom
