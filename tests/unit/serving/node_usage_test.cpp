#include "engine/serving/engine_port/node_usage.h"

#include <gmock/gmock.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <condition_variable>
#include <mutex>

#include "../checkpoint/checkpoint_files.h"
#include "engine/serving/engine_port/gpu_alarm.h"
#include "engine/serving/engine_port/node_metrics.h"
#include "engine/serving/engine_port/node_sampler.h"

namespace dsl::serving {
namespace {

using checkpoint::TemporaryDirectory;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using namespace std::chrono_literals;

constexpr char kNoLibrary[] = "libthere-is-no-such.so.1";

class NodeUsageTest : public testing::Test {
 protected:
  void write(const std::filesystem::path& file, const std::string& text) {
    std::filesystem::create_directories((folder_.path() / file).parent_path());
    folder_.write(file.string(), text);
  }
  static std::string metrics_of(const NodeUsage& usage) {
    prometheus::Registry registry;
    NodeMetrics metrics(registry, "m");
    metrics.update(usage);
    metrics.update(usage);  // totals do not grow by being read
    return prometheus::TextSerializer().Serialize(registry.Collect());
  }
  const TemporaryDirectory folder_;
};

TEST_F(NodeUsageTest, TellsOfTheMachineWhereThereIsNoFabricAndNoGpu) {
  const NodeUsage usage = NodeProbe({folder_.path() / "none", kNoLibrary}).read();
  EXPECT_GT(usage.num_cpus, 0);
  EXPECT_GT(usage.cpu_busy_s, 0);
  EXPECT_GT(usage.memory_bytes, usage.memory_available_bytes);
  EXPECT_THAT(usage.fabric_ports, IsEmpty());
  EXPECT_THAT(usage.gpus, IsEmpty());
  const std::string text = metrics_of(usage);
  EXPECT_THAT(text, HasSubstr("dslaunch_node_cpus{"));
  EXPECT_THAT(text, Not(HasSubstr("dslaunch_gpu")));
  EXPECT_THAT(text, Not(HasSubstr("dslaunch_fabric")));
}

TEST_F(NodeUsageTest, ReadsEveryCounterOfEveryPort) {
  write("mlx5_0/ports/1/counters/port_xmit_data", "10\n");
  write("mlx5_0/ports/1/counters/port_rcv_data", "20\n");
  write("mlx5_0/ports/1/counters/port_xmit_wait", "N/A (no PMA)\n");
  write("mlx5_0/ports/1/hw_counters/out_of_sequence", "3\n");
  write("mlx5_0/ports/1/hw_counters/lifespan", "10\n");
  write("rxe0/ports/2/hw_counters/sent_pkts", "7\n");
  write("rxe0/ports/x/hw_counters/sent_pkts", "7\n");
  NodeUsage usage = NodeProbe({folder_.path(), kNoLibrary}).read();
  ASSERT_EQ(usage.fabric_ports.size(), 2u);
  EXPECT_EQ(usage.fabric_ports[0].device, "mlx5_0");
  EXPECT_EQ(usage.fabric_ports[0].transmitted_bytes, 40);
  EXPECT_EQ(usage.fabric_ports[0].received_bytes, 80);
  EXPECT_EQ(usage.fabric_ports[0].counters.size(), 3u);
  EXPECT_EQ(usage.fabric_ports[1].port, 2);
  usage.host = "n1";
  const std::string text = metrics_of(usage);
  EXPECT_THAT(text,
              HasSubstr("dslaunch_fabric_transmitted_bytes_total{device=\"mlx5_0\",model_name="
                        "\"m\",node=\"n1\",port=\"1\"} 40"));
  EXPECT_THAT(text, HasSubstr("counter=\"out_of_sequence\",device=\"mlx5_0\",group=\"hw_counters\","
                              "model_name=\"m\",node=\"n1\",port=\"1\"} 3"));
  EXPECT_THAT(text, Not(HasSubstr("lifespan")));
  EXPECT_THAT(text, Not(HasSubstr("port_xmit_wait")));
}

TEST_F(NodeUsageTest, TellsOfGpusWhatTheirLibraryKnows) {
  NodeUsage usage = NodeProbe({folder_.path(), DSL_MADE_UP_NVML}).read();
  ASSERT_EQ(usage.gpus.size(), 3u);
  EXPECT_EQ(usage.gpus[0].name, "First");
  EXPECT_EQ(usage.gpus[0].busy_fraction, 0.25);
  EXPECT_EQ(usage.gpus[0].memory_bytes, 1000);
  EXPECT_EQ(usage.gpus[0].memory_used_bytes, 400);
  EXPECT_EQ(usage.gpus[0].power_w, 71.5);
  EXPECT_EQ(usage.gpus[0].temperature_c, 41);
  EXPECT_FALSE(usage.gpus[1].busy_fraction.has_value());
  usage.host = "n1";
  const std::string text = metrics_of(usage);
  EXPECT_THAT(text, HasSubstr("dslaunch_gpu_busy_ratio{gpu=\"0\",gpu_name=\"First\",model_name="
                              "\"m\",node=\"n1\"} 0.25"));
  EXPECT_THAT(text, Not(HasSubstr("dslaunch_gpu_busy_ratio{gpu=\"1\"")));
}

TEST_F(NodeUsageTest, TellsOfTheHealthOfGpus) {
  NodeUsage usage = NodeProbe({folder_.path(), DSL_MADE_UP_NVML}).read();
  ASSERT_EQ(usage.gpus.size(), 3u);
  const GpuUsage& well = usage.gpus[0];
  EXPECT_EQ(well.health.ecc_errors, 0);
  EXPECT_EQ(well.health.num_xid_errors, 0);
  EXPECT_TRUE(well.health.throttle->power_cap);
  EXPECT_THAT(problems_of(well.health, well.temperature_c), IsEmpty()) << "at its power limit";
  const GpuUsage& silent = usage.gpus[1];
  EXPECT_FALSE(silent.health.ecc_errors || silent.health.throttle || silent.health.num_xid_errors);
  EXPECT_THAT(problems_of(silent.health, silent.temperature_c), IsEmpty());

  const GpuHealth& broken = usage.gpus[2].health;
  EXPECT_EQ(broken.ecc_errors, 3);
  EXPECT_EQ(broken.ecc_errors_ever, 5);
  EXPECT_TRUE(*broken.is_repair_pending);
  EXPECT_FALSE(*broken.has_repair_failed);
  EXPECT_TRUE(broken.throttle->thermal);
  EXPECT_EQ(broken.num_xid_errors, 2);
  EXPECT_EQ(broken.last_xid, 79);
  std::string told;
  for (const std::string& line : GpuAlarm().look_at(usage.gpus)) told += line + "\n";
  for (const char* part :
       {"GPU 2 (Third): 3 uncorrected ECC errors", "drain the node", "waits to be put out of use",
        "2 Xid errors, the last 79", "slowed down by heat, at 41"}) {
    EXPECT_THAT(told, HasSubstr(part));
  }
  EXPECT_THAT(told, Not(HasSubstr("GPU 0")));

  usage.host = "n1";
  const std::string text = metrics_of(usage);
  const std::string labels = "gpu=\"2\",gpu_name=\"Third\",model_name=\"m\",node=\"n1\"";
  for (const std::string& line :
       {"dslaunch_gpu_uncorrected_ecc_errors{" + labels + ",since=\"driver_start\"} 3",
        "dslaunch_gpu_uncorrected_ecc_errors{" + labels + ",since=\"ever\"} 5",
        "dslaunch_gpu_repair_pending{" + labels + "} 1",
        "dslaunch_gpu_repair_failed{" + labels + "} 0",
        "dslaunch_gpu_throttled{" + labels + ",reason=\"thermal\"} 1",
        "dslaunch_gpu_throttled{" + labels + ",reason=\"power_cap\"} 0",
        "dslaunch_gpu_xid_errors_total{" + labels + "} 2",
        "dslaunch_gpu_last_xid{" + labels + "} 79"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, Not(HasSubstr("dslaunch_gpu_throttled{gpu=\"1\"")));
}

TEST_F(NodeUsageTest, AnOlderDriverTellsWhatItKnows) {
  const NodeUsage usage = NodeProbe({folder_.path(), DSL_MADE_UP_OLD_NVML}).read();
  ASSERT_EQ(usage.gpus.size(), 3u);
  EXPECT_EQ(usage.gpus[2].temperature_c, 41);
  for (const GpuUsage& gpu : usage.gpus) {
    EXPECT_FALSE(gpu.health.ecc_errors || gpu.health.is_repair_pending || gpu.health.throttle ||
                 gpu.health.num_xid_errors);
    EXPECT_THAT(problems_of(gpu.health, gpu.temperature_c), IsEmpty());
  }
}

TEST(GpuAlarm, SaysAProblemOnceUntilItComesAgain) {
  GpuAlarm alarm;
  GpuUsage gpu;
  EXPECT_THAT(alarm.look_at({gpu}), IsEmpty());
  gpu.health.ecc_errors = 1;
  EXPECT_EQ(alarm.look_at({gpu}).size(), 1u);
  gpu.health.throttle = GpuThrottle{.thermal = true};
  EXPECT_EQ(alarm.look_at({gpu}).size(), 1u) << "the new one";
  EXPECT_THAT(alarm.look_at({gpu}), IsEmpty());
  gpu.health.throttle->thermal = false;
  EXPECT_THAT(alarm.look_at({gpu}), IsEmpty());
  gpu.health.throttle->thermal = true;
  EXPECT_EQ(alarm.look_at({gpu}).size(), 1u);
}

/// Readings that go on until they are let go.
class HeldReader {
 public:
  NodeUsage read() {
    std::unique_lock lock(mutex_);
    ++num_begun_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return num_let_go_ >= num_begun_; });
    NodeUsage usage;
    usage.num_cpus = num_begun_;
    return usage;
  }
  bool wait_begun(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return num_begun_ >= count; });
  }
  void let_go(int count) {
    const std::scoped_lock lock(mutex_);
    num_let_go_ = count;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int num_begun_ = 0;   // guarded by mutex_
  int num_let_go_ = 0;  // guarded by mutex_
};

TEST(NodeSampler, NobodyWaitsForADriverThatDoesNotAnswer) {
  HeldReader reader;
  const NodeSampler sampler([&] { return reader.read(); }, 1ms);
  ASSERT_TRUE(reader.wait_begun(1));
  EXPECT_FALSE(sampler.latest());
  reader.let_go(1);
  ASSERT_TRUE(reader.wait_begun(2));
  ASSERT_TRUE(sampler.latest());
  EXPECT_EQ(sampler.latest()->num_cpus, 1) << "the reading before, while one goes on";
  EXPECT_FALSE(sampler.latest(NodeSampler::Clock::now() + kNodeAgeLimit + 1s)) << "too old";
  reader.let_go(1 << 30);
}

}  // namespace
}  // namespace dsl::serving
