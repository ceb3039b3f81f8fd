#include "transport/ucx/worker.h"

#include <ucp/api/ucp.h>

#include <cstdio>
#include <cstdlib>

#include "transport/ucx/environment.h"

namespace dsl::ucx {
namespace {

constexpr std::string_view kUcxRemedy = "check UCX_* variables and `ucx_info -d` on both hosts";
constexpr int kCancelRounds = 1000;

Status ucx_status(std::string_view call, ucs_status_t status) {
  if (status == UCS_OK) return {};
  return fail(ErrorCode::kTransport, kUcxRemedy, "{}: {}", call, ::ucs_status_string(status));
}

ucs_memory_type_t ucx_memory_type(wire::MemoryType memory) {
  return memory == wire::MemoryType::kCuda ? UCS_MEMORY_TYPE_CUDA : UCS_MEMORY_TYPE_HOST;
}

void on_endpoint_error(void* argument, ucp_ep_h, ucs_status_t status) {
  Link& link = *static_cast<Link*>(argument);
  link.failed = true;
  link.reason = ::ucs_status_string(status);
}

}  // namespace

Result<std::unique_ptr<Worker>> Worker::create() {
  prepare_environment();
  std::unique_ptr<Worker> worker(new Worker());
  DSL_TRY(worker->open());
  return worker;
}

Status Worker::open() {
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_TAG | UCP_FEATURE_WAKEUP;
  DSL_TRY(ucx_status("ucp_init", ::ucp_init(&params, nullptr, &context_)));
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  DSL_TRY(ucx_status("ucp_context_query", ::ucp_context_query(context_, &attributes)));
  memory_types_ = attributes.memory_types;
  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  DSL_TRY(ucx_status("ucp_worker_create", ::ucp_worker_create(context_, &worker_params, &worker_)));
  DSL_TRY(ucx_status("ucp_worker_get_efd", ::ucp_worker_get_efd(worker_, &event_fd_)));
  ucp_address_t* address = nullptr;
  std::size_t length = 0;
  DSL_TRY(
      ucx_status("ucp_worker_get_address", ::ucp_worker_get_address(worker_, &address, &length)));
  address_.assign(reinterpret_cast<const char*>(address), length);
  ::ucp_worker_release_address(worker_, address);
  return {};
}

Worker::~Worker() {
  for (const auto& link : links_) force_close(*link);
  if (worker_ != nullptr) ::ucp_worker_destroy(worker_);
  if (context_ != nullptr) ::ucp_cleanup(context_);
}

Result<Link*> Worker::connect(const std::string& address) {
  auto link = std::make_unique<Link>();
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = on_endpoint_error;
  params.err_handler.arg = link.get();
  DSL_TRY(ucx_status("ucp_ep_create", ::ucp_ep_create(worker_, &params, &link->endpoint)));
  links_.push_back(std::move(link));
  return links_.back().get();
}

std::string Worker::describe(const Link& link) const {
  if (link.endpoint == nullptr) return {};
  char* text = nullptr;
  std::size_t length = 0;
  std::FILE* stream = ::open_memstream(&text, &length);
  if (stream == nullptr) return {};
  ::ucp_ep_print_info(link.endpoint, stream);
  std::fclose(stream);
  std::string result(text, length);
  std::free(text);
  return result;
}

Transfer Worker::started(Transfer::Direction direction, void* request, std::size_t size) {
  Transfer transfer{.direction = direction, .size = size};
  if (UCS_PTR_IS_PTR(request)) {
    transfer.request = request;
    transfer.status = UCS_INPROGRESS;
  } else {
    transfer.status = UCS_PTR_STATUS(request);
  }
  return transfer;
}

bool Worker::carries(wire::MemoryType memory) const {
  return ((memory_types_ >> ucx_memory_type(memory)) & 1) != 0;
}

Transfer Worker::send(Link& link, std::uint64_t tag, ConstBytes data, wire::MemoryType memory) {
  if (link.endpoint == nullptr) {
    return {.direction = Transfer::Direction::kSend,
            .status = UCS_ERR_CONNECTION_RESET,
            .size = data.size()};
  }
  ucp_request_param_t params{};
  // Told, so that UCX need not look up each buffer.
  params.op_attr_mask = UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.memory_type = ucx_memory_type(memory);
  void* request = ::ucp_tag_send_nbx(link.endpoint, data.data(), data.size(), tag, &params);
  return started(Transfer::Direction::kSend, request, data.size());
}

Transfer Worker::receive(std::uint64_t tag, MutableBytes data, wire::MemoryType memory) {
  ucp_request_param_t params{};
  // UCX 1.13 does not tell the size of a message that it delivers at once.
  params.op_attr_mask = UCP_OP_ATTR_FLAG_NO_IMM_CMPL | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.memory_type = ucx_memory_type(memory);
  void* request =
      ::ucp_tag_recv_nbx(worker_, data.data(), data.size(), tag, ~ucp_tag_t{0}, &params);
  return started(Transfer::Direction::kReceive, request, data.size());
}

bool Worker::progress() { return ::ucp_worker_progress(worker_) != 0; }

bool Worker::arm() { return ::ucp_worker_arm(worker_) == UCS_OK; }

bool Worker::poll(Transfer& transfer) {
  if (transfer.request == nullptr) return true;
  ucs_status_t status = UCS_OK;
  if (transfer.direction == Transfer::Direction::kReceive) {
    ucp_tag_recv_info_t info{};
    status = ::ucp_tag_recv_request_test(transfer.request, &info);
    transfer.received = info.length;
  } else {
    status = ::ucp_request_check_status(transfer.request);
  }
  if (status == UCS_INPROGRESS) return false;
  ::ucp_request_free(transfer.request);
  transfer.request = nullptr;
  transfer.status = status;
  return true;
}

Status Worker::outcome(const Transfer& transfer) const {
  const auto status = static_cast<ucs_status_t>(transfer.status);
  const bool receive = transfer.direction == Transfer::Direction::kReceive;
  if (status == UCS_ERR_MESSAGE_TRUNCATED ||
      (status == UCS_OK && receive && transfer.received != transfer.size)) {
    const std::string found = status == UCS_OK ? fmt::format("{} bytes", transfer.received)
                                               : std::string("a longer message");
    return fail(ErrorCode::kProtocol, "run the same build and options on every rank",
                "expected {} bytes, found {}", transfer.size, found);
  }
  if (status == UCS_OK) return {};
  return fail(ErrorCode::kPeerLost, "look at the log of that rank for the first error", "{}",
              ::ucs_status_string(status));
}

bool Worker::cancel_receive(Transfer& transfer) {
  if (transfer.request == nullptr) return true;
  ::ucp_request_cancel(worker_, transfer.request);
  for (int round = 0; round < kCancelRounds; ++round) {
    if (poll(transfer)) return true;
    progress();
  }
  return false;
}

void Worker::force_close(Link& link) {
  if (link.endpoint == nullptr) return;
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_EP_CLOSE_FLAG_FORCE;
  void* request = ::ucp_ep_close_nbx(link.endpoint, &params);
  link.endpoint = nullptr;
  link.failed = true;
  if (UCS_PTR_IS_PTR(request)) {
    for (int round = 0;
         round < kCancelRounds && ::ucp_request_check_status(request) == UCS_INPROGRESS; ++round) {
      progress();
    }
    ::ucp_request_free(request);
  }
}

void Worker::flush(Deadline deadline) {
  ucp_request_param_t params{};
  void* request = ::ucp_worker_flush_nbx(worker_, &params);
  if (!UCS_PTR_IS_PTR(request)) return;
  while (::ucp_request_check_status(request) == UCS_INPROGRESS && !deadline.expired()) progress();
  ::ucp_request_free(request);
}

void Worker::abandon(Transfer& transfer) {
  if (transfer.request != nullptr) ::ucp_request_free(transfer.request);
  transfer.request = nullptr;
}

void Worker::forsake() {
  for (auto& link : links_) (void)link.release();  // UCX still knows it
  links_.clear();
  worker_ = nullptr;
  context_ = nullptr;
}

}  // namespace dsl::ucx
