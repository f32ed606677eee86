#include "graphs/hf_config.hpp"

#include <catch2/catch.hpp>

#include "graphs/input_error.hpp"

using namespace meshloom;

namespace {

double parameters(const std::string& config) {
  return summarize(build_transformer(parse_hf_config(config, "config.json"))).parameters;
}

std::string refusal_of(const std::string& config) {
  try {
    parse_hf_config(config, "config.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

std::string llama(const std::string& more) {
  return R"({"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
             "vocab_size": 128256, "intermediate_size": 14336, "torch_dtype": "bfloat16")" +
         more + "}";
}

}  // namespace

TEST_CASE("configurations give the published numbers of parameters") {
  CHECK(parameters(llama(R"(, "num_key_value_heads": 8)")) == 8030261248.0);  // as in transformer_test.cpp
  CHECK(parameters(R"({"model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168, "q_lora_rank": 1536,
    "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280, "intermediate_size": 18432,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 256,
    "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "n_shared_experts": 1, "first_k_dense_replace": 3,
    "moe_layer_freq": 1, "num_nextn_predict_layers": 1})") == 671026404352.0);
  // 50257·768 + 1024·768 + 12·(12·768² + 13·768) + 2·768
  CHECK(parameters(R"({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257,
    "n_positions": 1024})") == 124439808.0);
  // Falcon-7B: 32·(4544·(4544 + 2·64) + 4544² + 8·4544² + 2·4544) + 65024·4544 + 2·4544 [published 7.2B]
  CHECK(parameters(R"({"model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544,
    "num_attention_heads": 71, "vocab_size": 65024, "multi_query": true, "parallel_attn": true})") == 6921720704.0);
}

TEST_CASE("layer types give the window and the layers without one") {
  const std::string types = R"(, "sliding_window": 4096, "layer_types": )";
  const std::string head = R"({"model_type": "mistral", "num_hidden_layers": 4, "hidden_size": 64,
    "num_attention_heads": 4, "vocab_size": 128, "intermediate_size": 128)" +
                           types;
  const std::string s = "\"sliding_attention\"", f = "\"full_attention\"";
  const TransformerOptions every_second =
      parse_hf_config(head + "[" + s + "," + f + "," + s + "," + f + "]}", "config.json");
  CHECK(every_second.window == 4096);
  CHECK(every_second.full_attention_every == 2);
  CHECK(parse_hf_config(head + "[" + f + "," + f + "," + f + "," + f + "]}", "config.json").window == 0);
  CHECK(refusal_of(head + "[" + s + "," + f + "," + f + "," + s + "]}") ==
        "config.json: /layer_types/2: is not sliding_attention, but full attention must come every so many layers");
  CHECK(refusal_of(head + "[" + s + "]}") == "config.json: /layer_types: has 1 entries for num_hidden_layers, 4");
}

TEST_CASE("what is missing, unknown or contradicts itself is refused with its place") {
  CHECK(refusal_of("{}") == "config.json: missing key \"model_type\"");
  CHECK(refusal_of(R"({"model_type": "lama"})")
            .find("config.json: /model_type: unknown value \"lama\"; expected one of:") == 0);
  CHECK(refusal_of(R"({"model_type": "llama"})") == "config.json: missing key \"num_hidden_layers\"");
  CHECK(refusal_of(llama(R"(, "num_key_value_heads": 5)")) ==
        "config.json: /num_key_value_heads: 5 does not divide num_attention_heads, 32");
}
