#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/token_choice.cuh"
#include "engine/kernels/cuda/token_chooser.h"

namespace dsl::cuda {
namespace {

class CudaTokenChooser final : public TokenChooser {
 public:
  explicit CudaTokenChooser(std::shared_ptr<const Stream> stream) : launcher_(std::move(stream)) {}

  Result<std::vector<ChosenToken>> choose(MatrixView<const float> logits,
                                          std::span<const TokenChoice> choices) override {
    DSL_CHECK(logits.rows == std::ssize(choices) && logits.cols <= std::int64_t{1} << kTokenBits,
              "{} rows of {} logits, {} choices", logits.rows, logits.cols, choices.size());
    std::int64_t max_logprobs = 0;
    for (const TokenChoice& choice : choices) {
      max_logprobs = std::max<std::int64_t>(max_logprobs, choice.num_logprobs);
    }
    const std::size_t num_rows = choices.size();
    const std::size_t likeliest_size = num_rows * static_cast<std::size_t>(max_logprobs);
    const std::size_t chosen_bytes = num_rows * sizeof(DeviceChoice);
    const std::size_t bytes = chosen_bytes + likeliest_size * sizeof(TokenWithLogprob);
    const TokenChoice* on_device = launcher_.copy(choices_, choices);
    auto* results = launcher_.scratch<std::byte>(static_cast<std::int64_t>(bytes));
    if (on_device != nullptr && results != nullptr) {
      launcher_.run({dim3(static_cast<unsigned>(num_rows)), kChoiceThreads, kChoiceSharedBytes},
                    choose_token_kernel, logits, on_device, max_logprobs,
                    reinterpret_cast<DeviceChoice*>(results),
                    reinterpret_cast<TokenWithLogprob*>(results + chosen_bytes));
    }
    host_.resize(bytes);
    DSL_TRY(launcher_.read(host_.data(), results, bytes));
    const auto* chosen = reinterpret_cast<const DeviceChoice*>(host_.data());
    const auto* likeliest = reinterpret_cast<const TokenWithLogprob*>(host_.data() + chosen_bytes);
    std::vector<ChosenToken> tokens;
    for (std::size_t row = 0; row < num_rows; ++row) {
      DSL_TRY(check(chosen[row], choices[row].position));
      const auto count = std::min<std::int64_t>(choices[row].num_logprobs, logits.cols);
      tokens.push_back(with_logprobs(chosen[row],
                                     {likeliest + row * static_cast<std::size_t>(max_logprobs),
                                      static_cast<std::size_t>(std::max<std::int64_t>(count, 0))},
                                     choices[row].num_logprobs >= 0));
    }
    return tokens;
  }

  Status reserve(std::int64_t max_rows) override {
    static_assert(sizeof(TokenChoice) == kChoiceBytes);
    static_assert(sizeof(DeviceChoice) + kMaxChosenLogprobs * sizeof(TokenWithLogprob) ==
                  kChoiceResultBytes);
    DSL_TRY(choices_.reserve(max_rows));
    return launcher_.reserve_scratch(max_rows * kChoiceResultBytes);
  }
  std::int64_t held_bytes() const override {
    return choices_.held_bytes() + launcher_.scratch_bytes();
  }

 private:
  static Status check(const DeviceChoice& chosen, std::int64_t position) {
    constexpr std::string_view kRemedy = "check the checkpoint; its weights may be damaged";
    if (chosen.bad_token >= 0) {
      return fail(ErrorCode::kInternal, kRemedy,
                  "the logit of token {} at position {} is NaN or infinite", chosen.bad_token,
                  position);
    }
    if (std::isinf(chosen.largest)) {
      return fail(ErrorCode::kInternal, kRemedy, "no token at position {} has a finite logit",
                  position);
    }
    return {};
  }

  static ChosenToken with_logprobs(const DeviceChoice& chosen,
                                   std::span<const TokenWithLogprob> likeliest, bool is_wanted) {
    ChosenToken token{{chosen.token_id, 0}, {}};
    if (!is_wanted) return token;
    const double log_sum = chosen.largest + std::log(chosen.sum);
    const auto logprob = [&](float logit) { return static_cast<float>(logit - log_sum); };
    token.token.logprob = logprob(chosen.logit);
    for (const TokenWithLogprob& other : likeliest) {
      token.top_logprobs.push_back({other.token_id, logprob(other.logprob)});
    }
    return token;
  }

  Launcher launcher_;
  DeviceCopy<TokenChoice> choices_{"choices of tokens"};
  std::vector<std::byte> host_;
};

}  // namespace

std::unique_ptr<TokenChooser> make_token_chooser(std::shared_ptr<const Stream> stream) {
  return std::make_unique<CudaTokenChooser>(std::move(stream));
}

}  // namespace dsl::cuda
