// Proofs of identity and bearer tokens.
#include "engine/serving/discovery/identity.h"

#include <gmock/gmock.h>

namespace dsl::serving {
namespace {

using testing::HasSubstr;

constexpr char kNonce[] = "000102030405060708090a0b0c0d0e0f";

TEST(IdentityTest, TheProofIsTheDocumentedHmac) {
  // printf 'dslaunch identity\n127.0.0.1:80\n000102030405060708090a0b0c0d0e0f' |
  //   openssl dgst -sha256 -hmac secret
  EXPECT_EQ(identity_proof("secret", "127.0.0.1:80", kNonce),
            "3bbb452c54f06fde785fa963d032fdf2d58aac3f8dca5f89f5778300a1097f12");
}

TEST(IdentityTest, TheProofDependsOnSecretEndpointAndNonce) {
  const std::string proof = identity_proof("secret", "127.0.0.1:80", kNonce);
  EXPECT_NE(identity_proof("Secret", "127.0.0.1:80", kNonce), proof);
  EXPECT_NE(identity_proof("secret", "127.0.0.1:81", kNonce), proof);
  EXPECT_NE(identity_proof("secret", "127.0.0.1:80", "000102030405060708090a0b0c0d0e00"), proof);
}

TEST(IdentityTest, NoncesDiffer) {
  const auto first = make_nonce();
  const auto second = make_nonce();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->size(), 32u);
  EXPECT_NE(*first, *second);
}

TEST(IdentityTest, TheAnswerProvesTheServersOwnEndpoint) {
  HttpHead head;
  head.query = std::string("nonce=") + kNonce;
  head.server_endpoint = "127.0.0.1:80";
  const HttpResponse response = identity_response(head, "secret");
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.body, HasSubstr(identity_proof("secret", "127.0.0.1:80", kNonce)));
}

TEST(IdentityTest, ChallengesWithoutAProperNonceAreRefused) {
  for (const std::string query :
       {"", "nonce=", "nonce=00", "nonce=000102030405060708090A0B0C0D0E0F",
        "x=000102030405060708090a0b0c0d0e0f"}) {
    HttpHead head;
    head.query = query;
    EXPECT_EQ(identity_response(head, "secret").status, 400) << query;
  }
}

TEST(IdentityTest, OnlyTheWholeSecretIsTheSecret) {
  HttpHead head;
  for (const char* wrong : {"", "secret", "Bearer ", "Bearer secre", "Bearer secret1",
                            "Bearer Secret", "bearer secret", "Basic secret"}) {
    head.authorization = wrong;
    EXPECT_FALSE(carries_secret(head, "secret")) << wrong;
  }
  head.authorization = "Bearer secret";
  EXPECT_TRUE(carries_secret(head, "secret"));
  head.authorization = "Bearer ";
  EXPECT_FALSE(carries_secret(head, "")) << "no secret opens nothing";
}

}  // namespace
}  // namespace dsl::serving
