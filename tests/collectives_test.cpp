#include "costmodel/collectives.hpp"

#include <catch2/catch.hpp>
#include <random>

using namespace meshloom;

namespace {

constexpr Collective all_collectives[] = {Collective::all_gather, Collective::reduce_scatter, Collective::all_reduce,
                                          Collective::all_to_all, Collective::permute};

// Hosts of four devices: 10 B/s between devices and 1 s a step inside, one NIC of 4 B/s and 3 s a step between hosts.
Cluster toy() {
  Cluster cluster;
  cluster.devices_per_host = 4;
  cluster.intra_host = {.bandwidth = BytesPerSecond(10), .efficiency = 1, .latency = Seconds(1)};
  cluster.nic = {.bandwidth = BytesPerSecond(4), .efficiency = 1, .latency = Seconds(3)};
  return cluster;
}

constexpr DeviceGroup inside{4, 1, 1};          // one host
constexpr DeviceGroup rings_of_hosts{2, 2, 4};  // one device of each of two hosts, four groups at once
constexpr DeviceGroup two_hosts{8, 2, 1};       // all of two hosts

DeviceGroup random_group(std::mt19937& random) {
  const auto pick = [&](std::int64_t most) {
    return std::int64_t(1) << std::uniform_int_distribution<>(0, int(most))(random);
  };
  const std::int64_t hosts = pick(3), members = pick(3);
  return {hosts * members, hosts, 8 / members};
}

Cluster random_cluster(std::mt19937& random) {
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<>(low, high)(random); };
  Cluster cluster;
  cluster.devices_per_host = 8;
  cluster.nics_per_host = std::uniform_int_distribution<>(1, 8)(random);
  cluster.intra_host = {.bandwidth = BytesPerSecond(uniform(1e9, 1e12)),
                        .efficiency = uniform(0.1, 1),
                        .latency = Seconds(uniform(0, 1e-5))};
  cluster.nic = {.bandwidth = BytesPerSecond(uniform(1e8, 1e11)),
                 .efficiency = uniform(0.1, 1),
                 .latency = Seconds(uniform(0, 1e-4))};
  return cluster;
}

}  // namespace

TEST_CASE("bytes on the wire per device are those of ring algorithms") {
  CHECK(wire_bytes(Collective::all_gather, Bytes(16), 4) == Bytes(12));  // 3/4
  CHECK(wire_bytes(Collective::reduce_scatter, Bytes(16), 4) == Bytes(12));
  CHECK(wire_bytes(Collective::all_reduce, Bytes(16), 4) == Bytes(24));
  CHECK(wire_bytes(Collective::all_to_all, Bytes(16), 4) == Bytes(3));  // 3/16
  CHECK(wire_bytes(Collective::permute, Bytes(16), 4) == Bytes(4));
}

TEST_CASE("a collective inside a host costs its steps and its bytes over the device's link") {
  const Cluster cluster = toy();
  // 40 B on 4 devices; all-gather: 3 steps of 1 s and 30 B at 10 B/s.
  CHECK(collective_time(cluster, Collective::all_gather, Bytes(40), inside) == Seconds(6));
  CHECK(collective_time(cluster, Collective::reduce_scatter, Bytes(40), inside) == Seconds(6));
  CHECK(collective_time(cluster, Collective::all_reduce, Bytes(40), inside) == Seconds(12));  // twice both
  // 3 steps, and to each of 3 others 40/16 B = 7.5 B at 10 B/s.
  CHECK(collective_time(cluster, Collective::all_to_all, Bytes(40), inside) == Seconds(3.75));
  CHECK(collective_time(cluster, Collective::permute, Bytes(40), inside) == Seconds(2));  // 1 step, 10 B
}

TEST_CASE("groups that run at once share their host's NICs") {
  Cluster cluster = toy();
  // Four rings over one NIC of 4 B/s: 1 B/s each. All-gather of 10 B over 2 hosts: 1 step of 3 s, 5 B at 1 B/s.
  CHECK(ring_bandwidth(cluster, rings_of_hosts) == BytesPerSecond(1));
  CHECK(collective_time(cluster, Collective::all_gather, Bytes(10), rings_of_hosts) == Seconds(8));
  // One ring over both hosts has the NIC for itself: a step of 3 s between hosts, 6 of 1 s inside, 14 B at 4 B/s.
  CHECK(collective_time(cluster, Collective::all_gather, Bytes(16), two_hosts) == Seconds(12.5));
  // With four NICs of 4 B/s the ring is as fast as the link inside the host, 10 B/s, not 16.
  cluster.nics_per_host = 4;
  CHECK(ring_bandwidth(cluster, two_hosts) == BytesPerSecond(10));
}

TEST_CASE("an all-to-all over hosts takes the longer of its parts inside and across") {
  Cluster cluster = toy();
  // 64 B on 8 devices: 1 B from each to each. A host's 4 devices send 4 B each across: 16 B at 4 B/s; inside 3 B at 10
  // B/s. A step of 3 s between hosts and 6 of 1 s.
  CHECK(collective_time(cluster, Collective::all_to_all, Bytes(64), two_hosts) == Seconds(3 + 6 + 4));
  cluster.nic.bandwidth = BytesPerSecond(1600);  // 16 B in 0.01 s; inside 0.3 s
  CHECK(collective_time(cluster, Collective::all_to_all, Bytes(64), two_hosts).value() == Approx(3 + 6 + 0.3));
}

TEST_CASE("a permutation over hosts sends every shard through the NICs") {
  // 16 B on 8 devices: 4 devices of a host send 2 B each through 4 B/s.
  CHECK(collective_time(toy(), Collective::permute, Bytes(16), two_hosts) == Seconds(3 + 2));
  // Four groups of two: again 4 devices of a host, 8 B each.
  CHECK(collective_time(toy(), Collective::permute, Bytes(16), rings_of_hosts) == Seconds(3 + 8));
}

TEST_CASE("small groups on links without a switch have their own bandwidth") {
  Cluster cluster = toy();
  cluster.intra_host.efficiency_of_group = {{2, 0.5}, {4, 1}};
  // 2 devices: 1 step, 10 B at 5 B/s.
  CHECK(collective_time(cluster, Collective::all_gather, Bytes(20), {2, 1, 2}) == Seconds(3));
  CHECK(collective_time(cluster, Collective::all_gather, Bytes(40), inside) == Seconds(6));
  // A pair of devices sends at 5 B/s.
  CHECK(send_time(cluster, Bytes(20), LinkClass::intra_host, 1) == Seconds(5));
}

TEST_CASE("sending to the next stage uses device pairs inside a host and all NICs of host pairs between hosts") {
  Cluster cluster = toy();
  CHECK(send_time(cluster, Bytes(40), LinkClass::intra_host, 1) == Seconds(5));   // 1 + 40/10
  CHECK(send_time(cluster, Bytes(40), LinkClass::intra_host, 4) == Seconds(2));   // 1 + 40/(4·10)
  CHECK(send_time(cluster, Bytes(40), LinkClass::inter_host, 1) == Seconds(13));  // 3 + 40/4
  cluster.nics_per_host = 2;
  CHECK(send_time(cluster, Bytes(40), LinkClass::inter_host, 5) == Seconds(4));  // 3 + 40/(5·2·4)
}

TEST_CASE("a collective over one device is free") {
  for (const Collective collective : all_collectives) {
    CHECK(wire_bytes(collective, Bytes(1e9), 1) == Bytes(0));
    CHECK(collective_time(toy(), collective, Bytes(1e9), {1, 1, 4}) == Seconds(0));
  }
}

TEST_CASE("more bytes never cost less, more bandwidth never more") {
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    const Cluster cluster = random_cluster(random);
    const DeviceGroup group = random_group(random);
    Cluster faster = cluster;
    (i % 2 == 0 ? faster.nic : faster.intra_host).bandwidth *= 2;
    for (const Collective collective : all_collectives) {
      const Seconds time = collective_time(cluster, collective, Bytes(1e8), group);
      CHECK(collective_time(cluster, collective, Bytes(2e8), group) >= time);
      CHECK(collective_time(faster, collective, Bytes(1e8), group) <= time);
    }
  }
}

TEST_CASE("an all-reduce costs a reduce-scatter and an all-gather") {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    const Cluster cluster = random_cluster(random);
    const DeviceGroup group = random_group(random);
    const auto time = [&](Collective collective) { return collective_time(cluster, collective, Bytes(1e7), group); };
    CHECK(time(Collective::all_reduce).value() ==
          Approx((time(Collective::reduce_scatter) + time(Collective::all_gather)).value()));
  }
}

TEST_CASE("oversubscription of 2 doubles the transfer of all that crosses switches") {
  Cluster cluster = toy();
  // Hosts 0 and 2 in one ring, 1 and 3 in another; two hosts below a switch, so all rings cross.
  const DeviceGroup crossing{2, 2, 4, 2, 3};
  const auto transfer = [&](Collective collective, const DeviceGroup& group) {
    const double steps = collective == Collective::all_reduce ? 2 : 1;
    return collective_time(cluster, collective, Bytes(16), group).value() - 3 * steps * double(group.size - 1);
  };
  for (const Collective collective : all_collectives) {
    CAPTURE(name(collective));
    cluster.switch_levels = {};
    const double free = transfer(collective, crossing), near = transfer(collective, rings_of_hosts);
    cluster.switch_levels = {{2, 1}};
    CHECK(transfer(collective, crossing) == Approx(free));
    cluster.switch_levels = {{2, 2}};
    CHECK(transfer(collective, crossing) == Approx(2 * free));
    CHECK(transfer(collective, rings_of_hosts) == Approx(near));  // neighbours stay below one switch
  }
  // All-gather of 16 B in pairs: 8 B at a fourth of 4 B/s, halved.
  CHECK(transfer(Collective::all_gather, crossing) == Approx(16));
}

TEST_CASE("a ring over neighbouring hosts leaves a switch once, so it has the uplink that several hosts share") {
  Cluster cluster = toy();
  const DeviceGroup four_hosts{16, 4, 1, 1, 4};
  const Seconds free = collective_time(cluster, Collective::all_reduce, Bytes(16), four_hosts);
  cluster.switch_levels = {{2, 2}};  // two hosts' NICs enter, one's leaves
  CHECK(collective_time(cluster, Collective::all_reduce, Bytes(16), four_hosts) == free);
  cluster.switch_levels = {{2, 4}};
  CHECK(collective_time(cluster, Collective::all_reduce, Bytes(16), four_hosts) > free);
  // An all-to-all sends from each of 16 devices 1/16 B to 8 behind the switch: 8 devices · 0.5 B over 8 / 4 B/s; inside
  // the host's NICs 4 · 12/16 B over 4 B/s would take 0.75 s. 3 steps of 3 s between hosts, 12 of 1 s inside.
  const DeviceGroup& group = four_hosts;
  CHECK(collective_time(cluster, Collective::all_to_all, Bytes(16), group).value() == Approx(3 * 3 + 12 + 2));
}

TEST_CASE("levels multiply: what leaves the second passed the first") {
  Cluster cluster = toy();
  cluster.switch_levels = {{2, 2}, {4, 3}};
  CHECK(share_of_switches(cluster, 0) == Approx(1 / 2.0));
  CHECK(share_of_switches(cluster, 1) == Approx(1 / 6.0));
  // One device of hosts 0 and 4: past both levels, a sixth of the NICs' 1 B/s for 8 B.
  CHECK(collective_time(cluster, Collective::all_gather, Bytes(16), {2, 2, 4, 4, 5}).value() == Approx(3 + 48));
}

TEST_CASE("a round of a ring pays a hop between hosts for each further host and hops inside hosts otherwise") {
  Cluster cluster = toy();
  const auto latency = [&](Collective collective, const DeviceGroup& group) {
    return collective_time(cluster, collective, Bytes(0), group);
  };
  // Two hosts of four devices: 7 hops a round, 1 of 3 s between the hosts and 6 of 1 s inside.
  CHECK(latency(Collective::all_gather, two_hosts) == Seconds(9));
  CHECK(latency(Collective::reduce_scatter, two_hosts) == Seconds(9));
  CHECK(latency(Collective::all_reduce, two_hosts) == Seconds(18));  // two rounds
  // One device of each of two hosts: the only hop is between them.
  CHECK(latency(Collective::all_gather, rings_of_hosts) == Seconds(3));
  // Four hosts of four: 3 hops of 3 s, 12 of 1 s.
  CHECK(latency(Collective::all_gather, {16, 4, 1}) == Seconds(21));
  // NICs that are said to be quicker than the links inside are not: no hop is quicker than one inside.
  cluster.nic.latency = Seconds(0);
  CHECK(latency(Collective::all_gather, two_hosts) == Seconds(7));
}

TEST_CASE("computing waits for the exposed share of a collective and for what the framework adds to it") {
  Recipe recipe;
  recipe.exposed_activations = 0.4;
  recipe.exposed_all_to_all = 0.9;
  recipe.collective_overhead = Seconds(2);
  const Waiting waiting = waiting_for_activations(recipe);
  CHECK(waiting.of(Collective::all_reduce, Seconds(10)) == Seconds(6));  // 0.4 · 10 + 2
  CHECK(waiting.of(Collective::all_gather, Seconds(10)) == Seconds(6));
  CHECK(waiting.of(Collective::all_to_all, Seconds(10)) == Seconds(11));  // 0.9 · 10 + 2
  CHECK(Waiting{}.of(Collective::all_reduce, Seconds(10)) == Seconds(10));
}

TEST_CASE("collectives and links have distinct names") {
  CHECK(name(Collective::all_gather) == "all_gather");
  CHECK(name(Collective::reduce_scatter) == "reduce_scatter");
  CHECK(name(Collective::all_reduce) == "all_reduce");
  CHECK(name(Collective::all_to_all) == "all_to_all");
  CHECK(name(Collective::permute) == "permute");
  CHECK(name(LinkClass::intra_host) == "intra_host");
  CHECK(name(LinkClass::inter_host) == "inter_host");
}
