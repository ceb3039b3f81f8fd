// Which engine gets a request.
#include "engine/serving/gateway/router.h"

#include <gtest/gtest.h>

#include <map>

namespace dsl::serving {
namespace {

EngineKey key(const std::string& id) { return {id, "127.0.0.1:1"}; }

ServiceEntry entry(const std::string& id, bool is_draining = false) {
  ServiceEntry result;
  result.id = id;
  result.endpoint = "127.0.0.1:1";
  result.is_draining = is_draining;
  return result;
}

/// Engines e0 to eN-1, healthy.
Router router_of(int num_engines, RoutingPolicy policy) {
  Router router;
  std::vector<ServiceEntry> entries;
  for (int i = 0; i < num_engines; ++i) entries.push_back(entry("e" + std::to_string(i)));
  router.set_engines(entries);
  for (const ServiceEntry& engine : entries) router.note_probe(key(engine.id), true);
  router.set_policy(policy);
  return router;
}

TEST(RouterTest, PoliciesHaveNames) {
  for (const auto policy :
       {RoutingPolicy::kLeastWork, RoutingPolicy::kPrefix, RoutingPolicy::kRoundRobin}) {
    EXPECT_EQ(parse_routing_policy(routing_policy_name(policy)), policy);
  }
  EXPECT_EQ(parse_routing_policy(""), RoutingPolicy::kLeastWork);
  EXPECT_FALSE(parse_routing_policy("random").has_value());
}

TEST(RouterTest, NoEngineIsChosenBeforeItIsHealthy) {
  Router router;
  router.set_engines({entry("e0")});
  EXPECT_FALSE(router.choose(0, {}).has_value());
  router.note_probe(key("e0"), true);
  EXPECT_EQ(router.choose(0, {}), key("e0"));
}

TEST(RouterTest, TwoFailuresTakeAnEngineOutAndOneSuccessBringsItBack) {
  Router router = router_of(1, RoutingPolicy::kLeastWork);
  router.note_probe(key("e0"), false);
  EXPECT_TRUE(router.is_in_rotation(key("e0")));
  router.note_probe(key("e0"), false);
  EXPECT_FALSE(router.is_in_rotation(key("e0")));
  router.note_probe(key("e0"), true);
  EXPECT_TRUE(router.is_in_rotation(key("e0")));
}

TEST(RouterTest, ABrokenStreamTakesAnEngineOutAtOnce) {
  Router router = router_of(2, RoutingPolicy::kRoundRobin);
  router.note_broken_stream(key("e0"));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(router.choose(0, {}), key("e1"));
}

TEST(RouterTest, DrainingAndExcludedEnginesGetNothing) {
  Router router = router_of(3, RoutingPolicy::kRoundRobin);
  router.set_engines({entry("e0", true), entry("e1"), entry("e2")});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(router.choose(0, {key("e1")}), key("e2"));
  EXPECT_FALSE(router.choose(0, {key("e1"), key("e2")}).has_value());
  EXPECT_EQ(router.num_in_rotation(), 2u);
}

TEST(RouterTest, ARepairedEngineAtAnotherAddressMustProveItsHealthAnew) {
  Router router = router_of(1, RoutingPolicy::kLeastWork);
  ServiceEntry moved = entry("e0");
  moved.endpoint = "127.0.0.1:2";
  router.set_engines({moved});
  EXPECT_FALSE(router.choose(0, {}).has_value());
}

TEST(RouterTest, RoundRobinTakesTurns) {
  Router router = router_of(3, RoutingPolicy::kRoundRobin);
  std::map<std::string, int> counts;
  for (int i = 0; i < 9; ++i) ++counts[router.choose(0, {})->id];
  for (const auto& [id, count] : counts) EXPECT_EQ(count, 3) << id;
}

TEST(RouterTest, LeastWorkGoesWhereTheFewestTokensAreLeft) {
  Router router = router_of(3, RoutingPolicy::kLeastWork);
  router.add_work(key("e0"), 500);
  router.add_work(key("e1"), 100);
  router.add_work(key("e2"), 300);
  EXPECT_EQ(router.choose(0, {}), key("e1"));
  router.add_work(key("e1"), 450);
  EXPECT_EQ(router.choose(0, {}), key("e2"));
  router.add_work(key("e0"), -500);
  EXPECT_EQ(router.choose(0, {}), key("e0"));
  EXPECT_EQ(router.outstanding_tokens(key("e0")), 0);
}

TEST(RouterTest, LeastWorkSpreadsOverIdleEngines) {
  Router router = router_of(3, RoutingPolicy::kLeastWork);
  std::set<std::string> used;
  for (int i = 0; i < 3; ++i) used.insert(router.choose(0, {})->id);
  EXPECT_EQ(used.size(), 3u);
}

TEST(RouterTest, EqualPrefixesMeetTheSameEngine) {
  Router router = router_of(4, RoutingPolicy::kPrefix);
  std::vector<std::int32_t> prompt(200, 7);
  const std::uint64_t prefix = prefix_hash(prompt);
  prompt.back() = 8;  // behind the first blocks
  EXPECT_EQ(prefix_hash(prompt), prefix);
  prompt.front() = 8;
  EXPECT_NE(prefix_hash(prompt), prefix);
  const auto home = router.choose(prefix, {});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(router.choose(prefix, {}), home);
}

TEST(RouterTest, AnEngineThatGoesMovesOnlyItsOwnPrefixes) {
  Router router = router_of(4, RoutingPolicy::kPrefix);
  std::map<std::uint64_t, EngineKey> homes;
  std::map<std::string, int> counts;
  for (std::int32_t i = 0; i < 400; ++i) {
    const std::uint64_t prefix = prefix_hash(std::vector<std::int32_t>{i});
    homes[prefix] = *router.choose(prefix, {});
    ++counts[homes[prefix].id];
  }
  for (const auto& [id, count] : counts) EXPECT_NEAR(count, 100, 50) << id;
  router.note_broken_stream(key("e2"));
  for (const auto& [prefix, home] : homes) {
    const auto now = router.choose(prefix, {});
    if (home.id == "e2") {
      EXPECT_NE(now, home);
    } else {
      EXPECT_EQ(now, home);
    }
  }
}

TEST(RouterTest, APopularPrefixDoesNotOverloadItsEngine) {
  Router router = router_of(2, RoutingPolicy::kPrefix);
  std::map<std::string, int> counts;
  for (int i = 0; i < 100; ++i) {
    const auto engine = router.choose(42, {});
    router.add_work(*engine, 1000);
    ++counts[engine->id];
  }
  EXPECT_EQ(counts.size(), 2u);
  for (const auto& [id, count] : counts) EXPECT_GE(count, 30) << id;
}

}  // namespace
}  // namespace dsl::serving
