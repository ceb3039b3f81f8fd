#include <gmock/gmock.h>

#include "launcher/metrics/deployment_load.h"
#include "launcher/metrics/load_view.h"

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
      "dslaunch_node_cpu_busy_seconds_total{node=\"n1\"} 10\n");
  now.samples["engine-0"] = parse_metrics(
      "vllm:generation_tokens_total 160\nvllm:time_to_first_token_seconds_sum 2\n"
      "vllm:time_to_first_token_seconds_count 6\nprocess_cpu_seconds_total 8\n"
      "dslaunch_node_cpu_busy_seconds_total{node=\"n1\"} 12\ndslaunch_node_cpus{node=\"n1\"} 2\n"
      "dslaunch_rank_healthy{rank=\"0\",host=\"n1\"} 1\n"
      "dslaunch_rank_healthy{rank=\"1\",host=\"n1\"} 0\n"
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

/// What an engine exports of two nodes, each with one of its ranks, at a time.
MetricSamples two_nodes(double told_s, double read_s) {
  std::string text;
  for (int i = 0; i < 2; ++i) {
    const std::string node = fmt::format("node=\"n{}\"", i);
    const std::string rank = fmt::format("rank=\"{}\",host=\"n{}\"", i, i);
    text += fmt::format("dslaunch_node_read_timestamp_seconds{{{}}} {}\n", node, read_s);
    text += fmt::format("dslaunch_node_cpus{{{}}} 4\n", node);
    text += fmt::format("dslaunch_node_cpu_busy_seconds_total{{{}}} {}\n", node, (i + 1) * read_s);
    text += fmt::format("dslaunch_rank_healthy{{{}}} {}\n", rank, 1 - i);
    text += fmt::format("dslaunch_rank_state_age_seconds{{{}}} {}\n", rank, 10 - told_s);
    text += fmt::format("dslaunch_rank_steps_total{{{}}} {}\n", rank, 100 * told_s);
    for (const char* purpose : {"tensor", "pipeline", "plan"}) {
      const std::string hop = fmt::format("rank=\"{}\",peer=\"9\",purpose=\"{}\"", i, purpose);
      text += fmt::format("dslaunch_hop_sent_bytes_total{{{}}} {}\n", hop, 1000 * told_s);
      text += fmt::format("dslaunch_hop_wait_seconds_total{{{}}} {}\n", hop, 0.25 * told_s);
    }
    const std::string port = fmt::format("node=\"n{}\",device=\"mlx5_0\",port=\"1\"", i);
    text += fmt::format("dslaunch_fabric_transmitted_bytes_total{{{}}} {}\n", port, 5000 * read_s);
    text += fmt::format(
        "dslaunch_fabric_counter_total{{{},group=\"counters\",counter=\"symbol_error\"}} 3\n",
        port);
  }
  text +=
      "dslaunch_gpu_memory_bytes{node=\"n1\",gpu=\"0\"} 1000\n"
      "dslaunch_gpu_memory_bytes{node=\"n1\",gpu=\"1\"} 1000\n"
      "dslaunch_gpu_memory_used_bytes{node=\"n1\",gpu=\"0\"} 600\n"
      "dslaunch_gpu_busy_ratio{node=\"n1\",gpu=\"0\"} 0.5\n"
      "dslaunch_gpu_uncorrected_ecc_errors{node=\"n1\",gpu=\"0\",since=\"driver_start\"} 0\n"
      "dslaunch_gpu_throttled{node=\"n1\",gpu=\"0\",reason=\"power_cap\"} 1\n"
      "dslaunch_gpu_uncorrected_ecc_errors{node=\"n1\",gpu=\"1\",since=\"driver_start\"} 3\n"
      "dslaunch_gpu_uncorrected_ecc_errors{node=\"n1\",gpu=\"1\",since=\"ever\"} 9\n"
      "dslaunch_gpu_repair_pending{node=\"n1\",gpu=\"1\"} 1\n"
      "dslaunch_gpu_throttled{node=\"n1\",gpu=\"1\",reason=\"thermal\"} 1\n"
      "dslaunch_gpu_xid_errors_total{node=\"n1\",gpu=\"1\"} 2\n"
      "dslaunch_gpu_last_xid{node=\"n1\",gpu=\"1\"} 79\n";
  return parse_metrics(text);
}

TEST(DeploymentLoad, EveryNodeAndRankHasItsOwnFiguresOverItsOwnTime) {
  ServiceEntry engine;
  engine.id = "engine-0";
  Scrape before;
  Scrape now;
  now.when = before.when + std::chrono::seconds(2);
  before.samples["engine-0"] = two_nodes(1, 100);
  now.samples["engine-0"] = two_nodes(2.5, 104);  // told 1.5 s later, nodes read 4 s later
  // Ages are of the scrapes: 9 s and 7.5 s, so 2 + 9 - 7.5 s lie between the tellings.
  const DeploymentLoad load = measure_load({engine}, before, now);
  ASSERT_EQ(load.nodes.size(), 2U);
  EXPECT_EQ(load.nodes[0].cpu_usage, 0.25);
  EXPECT_EQ(load.nodes[1].cpu_usage, 0.5);
  EXPECT_EQ(load.nodes[0].num_healthy_ranks, 1);
  EXPECT_EQ(load.nodes[1].num_healthy_ranks, 0);
  EXPECT_FALSE(load.nodes[0].num_gpus);
  EXPECT_EQ(load.nodes[1].num_gpus, 2);
  EXPECT_EQ(load.nodes[1].gpu_usage, 0.5);
  EXPECT_EQ(load.nodes[1].gpu_memory_used_bytes, 600);
  EXPECT_EQ(load.nodes[1].fabric_sent_bytes_per_s, 5000);
  ASSERT_EQ(load.nodes[1].fabric_ports.size(), 1U);
  EXPECT_EQ(load.nodes[1].fabric_ports[0].counters.at("counters/symbol_error"), 3);
  ASSERT_EQ(load.ranks.size(), 2U);
  EXPECT_EQ(load.ranks[0].host, "n0");
  EXPECT_TRUE(load.ranks[0].is_healthy);
  EXPECT_FALSE(load.ranks[1].is_healthy);
  EXPECT_DOUBLE_EQ(*load.ranks[1].steps_per_s, 150 / 3.5);
  EXPECT_DOUBLE_EQ(*load.ranks[1].sent_bytes_per_s, 3 * 1500 / 3.5);
  EXPECT_DOUBLE_EQ(*load.ranks[1].waiting, 2 * 0.375 / 3.5) << "without the wait for plans";
  EXPECT_THAT(load_table(load), HasSubstr("unhealthy"));
  EXPECT_THAT(load_table(load), HasSubstr("1: 3 ECC, reset needed, Xid 79, heat  "));
  const std::string json = load_json(load, "demo");
  EXPECT_THAT(json, HasSubstr("\"counters/symbol_error\":3"));
  EXPECT_THAT(json, HasSubstr("\"num_gpus\":2"));
  EXPECT_THAT(json, HasSubstr("\"gpu_troubles\":{\"1\":\"3 ECC, reset needed, Xid 79, heat\"}"));
  EXPECT_THAT(json, HasSubstr("\"num_gpus\":null"));
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
