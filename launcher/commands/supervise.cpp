// dslaunch supervise, control and agent: what dslaunch itself starts.
#include "launcher/supervisor/supervise.h"

#include <memory>

#include "launcher/commands/commands.h"
#include "launcher/commands/spec_flags.h"
#include "launcher/controller/control.h"
#include "launcher/supervisor/agent.h"

namespace dsl::launcher {

void add_supervise(Command& root) {
  struct Flags {
    SpecFlags spec;
    int replica = 0;
    std::string launch_id;
  };
  Command& command = root.add_subcommand(
      "supervise", "Keep one replica: the batch step of a job (used by up and sbatch)");
  const auto flags = std::make_shared<Flags>();
  flags->spec.add_to(command, SpecFlagSet::kDeployment, true);
  FlagRules from_zero;
  from_zero.min = 0;
  command.add_flag("--replica", &flags->replica, "its number in the deployment", from_zero);
  command.add_flag("--launch-id", &flags->launch_id, "of the record that up has made");
  command.set_examples("  srun -N1 dslaunch supervise models/demo --cluster slurm --tp 2\n");
  command.set_action([flags]() -> Result<int> {
    DSL_ASSIGN(DeploymentSpec spec, flags->spec.resolve());
    DSL_TRY(supervise({std::move(spec), flags->replica, flags->launch_id}));
    return 0;
  });
}

void add_control(Command& root) {
  struct Flags {
    SpecFlags spec;
    std::string launch_id;
  };
  Command& command = root.add_subcommand(
      "control", "Keep the gateways and text services of a deployment (used by up)");
  const auto flags = std::make_shared<Flags>();
  flags->spec.add_to(command, SpecFlagSet::kDeployment, true);
  command.add_flag("--launch-id", &flags->launch_id, "of the record that up has made");
  command.set_examples("  dslaunch control models/demo --name demo --gateways 2\n");
  command.set_action([flags]() -> Result<int> {
    DSL_ASSIGN(DeploymentSpec spec, flags->spec.resolve());
    DSL_TRY(control({std::move(spec), flags->launch_id}));
    return 0;
  });
}

void add_agent(Command& root) {
  struct Flags {
    SpecFlags spec;
    AgentOptions options;
    std::string log_folder;
  };
  Command& command =
      root.add_subcommand("agent", "Run the ranks of this node (started by supervise)");
  const auto flags = std::make_shared<Flags>();
  flags->spec.add_to(command, SpecFlagSet::kDeployment, true);
  FlagRules required;
  required.required = true;
  command.add_flag("--rendezvous", &flags->options.rendezvous, "HOST:PORT of the supervisor",
                   required);
  command.add_flag("--placement", &flags->options.placement, "NODE:FIRST-LAST,… of all nodes",
                   required);
  command.add_flag("--log-folder", &flags->log_folder, "where rank-N.log go");
  command.set_examples(
      "  srun dslaunch agent models/demo --cluster slurm --pp 2 --rendezvous n1:40000 "
      "--placement n1:0-0,n2:1-1\n");
  command.set_action([flags]() -> Result<int> {
    DSL_ASSIGN(flags->options.spec, flags->spec.resolve());
    flags->options.log_folder = flags->log_folder;
    DSL_TRY(run_agent(flags->options));
    return 0;
  });
}

}  // namespace dsl::launcher
