#include "launcher/commands/session.h"

#include "launcher/cluster/local_allocator.h"
#include "launcher/commands/deployments.h"
#include "launcher/deployment/secret_store.h"
#include "launcher/output/progress.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::launcher {
namespace {

using std::chrono::seconds;

constexpr seconds kSessionStopTime{5};

}  // namespace

Session::Session() : signals_([this](int signal) { cancellation_.cancel(interruption(signal)); }) {}

Session::~Session() {
  if (world_) {
    world_->on_failure({});
    world_->stop(Deadline::after(kSessionStopTime));
  }
}

Result<std::unique_ptr<Session>> Session::start(const DeploymentSpec& spec) {
  std::unique_ptr<Session> session(new Session());
  WorldOptions options;
  options.spec = spec;
  DSL_ASSIGN(options.secret, bootstrap::make_secret());
  LocalAllocator allocator;
  DSL_ASSIGN(session->world_, World::start(options, allocator));
  Progress progress("loading", progress_style(stderr), stderr);
  DSL_ASSIGN(WorldReady ready,
             session->world_->wait_ready(
                 Deadline::after(seconds(spec.start_timeout_s)), session->cancellation_,
                 [&](const LoadState& load) { progress.update(load.bytes, load.total); }));
  session->client_ = std::make_unique<EngineClient>(ready.endpoint, options.secret);
  session->tp_ = spec.tp;
  session->pp_ = spec.pp;
  session->links_ = std::move(ready.links);
  session->paths_ = std::move(ready.paths);
  session->load_s_ = ready.load_s;
  session->failure_deadline_ms_ = spec.deadline_ms;
  Cancellation* cancellation = &session->cancellation_;
  session->world_->on_failure([cancellation](const Error& error) { cancellation->cancel(error); });
  return session;
}

Result<std::unique_ptr<Session>> Session::attach(const std::string& deployment) {
  DSL_ASSIGN(const DeploymentRecord record, find_deployment(deployment));
  if (record.state == DeploymentState::kFailed) {
    return tl::unexpected<Error>(
        Error{record.error}.within(fmt::format("the deployment \"{}\" has failed", record.name)));
  }
  if (record.state != DeploymentState::kReady) {
    return fail(ErrorCode::kUnreachable,
                fmt::format("wait for it: dslaunch status {}", record.name),
                "the deployment \"{}\" is {}, not ready", record.name, to_string(record.state));
  }
  DSL_ASSIGN(const SecretStore secrets, SecretStore::open());
  Result<std::string> secret = secrets.load(record.launch_id);
  if (!secret) {
    return tl::unexpected<Error>(std::move(secret).error().within(
        fmt::format("the secret of the deployment \"{}\"", record.name)));
  }
  std::unique_ptr<Session> session(new Session());
  session->client_ = std::make_unique<EngineClient>(record.endpoint, *secret);
  session->tp_ = record.tp;
  session->pp_ = record.pp;
  session->links_ = record.links;
  session->paths_ = record.paths;
  session->attached_ = record;
  return session;
}

Error Session::explain(Error error) {
  if (attached_) return explain_by_record(*attached_, std::move(error), cancellation_);
  if (!may_be_a_trace(error)) return error;
  return world_->failure(Deadline::after(explain_patience(failure_deadline_ms_)))
      .value_or(std::move(error));
}

}  // namespace dsl::launcher
