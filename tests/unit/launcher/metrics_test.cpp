#include <gmock/gmock.h>

#include "launcher/metrics/deployment_load.h"

namespace dsl::launcher {
namespace {

using testing::HasSubstr;

TEST(PrometheusText, ReadsSamplesAndSkipsTheRest) {
  const MetricSamples samples = parse_metrics(
      "# HELP a help\n# TYPE a counter\n"
      "a{model_name=\"m\",x=\"q\\\"}{ \"} 1.5\na{model_name=\"n\"} 2 1700000000000\n"
      "b 1e3\nbroken{x=\"\nnot a number\n c 1\nd NaN\n");
  EXPECT_EQ(samples.sum("a"), 3.5);
  EXPECT_EQ(samples.all("a").front().labels.at("x"), "q\"}{ ");
  EXPECT_EQ(samples.sum("b"), 1000);
  EXPECT_FALSE(samples.sum("broken"));
  EXPECT_FALSE(samples.sum("c"));
  EXPECT_TRUE(parse_metrics("").empty());
}

TEST(DeploymentLoad, ComesFromTwoScrapes) {
  ServiceEntry engine;
  engine.id = "engine-0";
  engine.owner.host = "n1";
  ServiceEntry silent = engine;
  silent.id = "engine-1";
  Scrape before;
  Scrape now;
  now.when = before.when + std::chrono::seconds(2);
  before.samples["engine-0"] = parse_metrics(
      "vllm:generation_tokens_total 100\nvllm:time_to_first_token_seconds_sum 1\n"
      "vllm:time_to_first_token_seconds_count 2\nprocess_cpu_seconds_total 5\n"
      "dslaunch_node_cpu_busy_seconds_total 10\n");
  now.samples["engine-0"] = parse_metrics(
      "vllm:generation_tokens_total 160\nvllm:time_to_first_token_seconds_sum 2\n"
      "vllm:time_to_first_token_seconds_count 6\nprocess_cpu_seconds_total 8\n"
      "dslaunch_node_cpu_busy_seconds_total 12\ndslaunch_node_cpus 2\n"
      "dslaunch_rank_healthy{rank=\"0\"} 1\ndslaunch_rank_healthy{rank=\"1\"} 0\n"
      "vllm:num_requests_running 3\nvllm:kv_cache_usage_perc 0.25\n");
  const DeploymentLoad load = measure_load({engine, silent}, before, now);
  ASSERT_EQ(load.services.size(), 2U);
  EXPECT_EQ(load.services[0].generation_tokens_per_s, 30);
  EXPECT_EQ(load.services[0].first_token_s, 0.25);
  EXPECT_EQ(load.services[0].cpu_cores, 1.5);
  EXPECT_EQ(load.services[0].num_running, 3);
  EXPECT_EQ(load.services[0].num_ranks, 2);
  EXPECT_EQ(load.services[0].num_healthy_ranks, 1);
  EXPECT_FALSE(load.services[0].num_waiting);
  EXPECT_EQ(load.services[1].state, "silent");
  ASSERT_EQ(load.nodes.size(), 1U);
  EXPECT_EQ(load.nodes[0].cpu_usage, 0.5);
  EXPECT_THAT(load_table(load), HasSubstr("30.0"));
  EXPECT_THAT(load_json(load, "demo"), HasSubstr("\"num_waiting\":null"));
}

TEST(DeploymentLoad, ACounterThatStartedAnewHasNoRate) {
  ServiceEntry engine;
  engine.id = "engine-0";
  Scrape before;
  Scrape now;
  now.when = before.when + std::chrono::seconds(1);
  before.samples["engine-0"] = parse_metrics("vllm:prompt_tokens_total 100\n");
  now.samples["engine-0"] = parse_metrics("vllm:prompt_tokens_total 5\n");
  EXPECT_FALSE(measure_load({engine}, before, now).services[0].prompt_tokens_per_s);
}

}  // namespace
}  // namespace dsl::launcher
