// What a stranger can send to the rendezvous port: frames, handshake messages, errors and
// exchanges.
#include <cstdint>
#include <cstdlib>

#include "transport/bootstrap/frame.h"
#include "transport/bootstrap/handshake.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dsl::bootstrap;
  std::string buffer(reinterpret_cast<const char*>(data), size);
  while (true) {
    const std::size_t before = buffer.size();
    const auto frame = take_frame(buffer, kMaxHandshakeFrame);
    if (!frame || !frame->has_value()) return 0;
    if (buffer.size() >= before || (*frame)->payload.size() >= kMaxHandshakeFrame) std::abort();
    const std::string& payload = (*frame)->payload;
    (void)decode_challenge(payload);
    (void)decode_proof(payload);
    if (const auto join = decode_join(payload); join && encode(*join) != payload) std::abort();
    PayloadReader error(payload);
    (void)read_error(error);
    PayloadReader exchange(payload);
    while (exchange.u32() && exchange.text()) {
    }
  }
}
