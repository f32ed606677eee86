// Folders of device files and recipes that take the place of the program's own.
#include "accuracy/constant_files.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"

using namespace meshloom;

namespace {

// A folder of its own, which goes with it.
class Folder {
 public:
  Folder() {
    for (const char* kind : {"devices", "recipes"}) std::filesystem::create_directories(path_ / kind);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  void write(const std::string& name, const std::string& text) const { write_file(file(name), text); }
  std::string file(const std::string& name) const { return (path_ / (name + ".json")).string(); }
  std::string path() const { return path_.string(); }
  std::string complaint() const {
    try {
      read_constants(path());
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  }

 private:
  const std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / fmt::format("meshloom_constant_files.{}", ::getpid());
};

std::string renamed(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

// The A100's under another name, without aliases.
std::string device(const std::string& name) {
  const std::string text = built_in_constant_files().at("devices/a100_sxm4_80gb");
  const std::size_t begin = text.find("\"aliases\""), end = text.find(']', begin);
  return renamed(text.substr(0, begin) + "\"aliases\": []" + text.substr(end + 1), "A100-SXM4-80GB", name);
}

}  // namespace

TEST_CASE("a folder may add a device that the program does not know", "[calibration]") {
  const Folder folder;
  folder.write("devices/mine", device("RTX 4090"));
  const Constants constants = read_constants(folder.path());
  REQUIRE(find_device(constants, "NVIDIA RTX-4090") != nullptr);
  CHECK(find_device(constants, "RTX 4090")->device.name == "RTX 4090");
  CHECK(find_device(constants, "H100") != nullptr);
  CHECK(find_device(built_in_constants(), "RTX 4090") == nullptr);
}

TEST_CASE("what a folder of constants gets wrong is named with its file", "[calibration]") {
  const Folder folder;
  CHECK(folder.complaint() == fmt::format("the folder \"{}\": has no devices/*.json and no recipes/*.json; give one "
                                          "that `meshloom calibrate -o` wrote",
                                          folder.path()));
  const std::string recipe = folder.file("recipes/nemo");
  const auto of_recipe = [&](const std::string& text) {
    folder.write("recipes/nemo", text);
    return folder.complaint();
  };
  CHECK_THAT(of_recipe("{"), Catch::StartsWith(recipe + ":1:"));
  CHECK_THAT(of_recipe(R"({"schema": "meshloom.recipe/1", "name": "nemo", "lunch": "1 us"})"),
             Catch::StartsWith(recipe + ": unknown key \"lunch\""));
  CHECK(of_recipe(R"({"schema": "meshloom.recipe/1", "name": "nemo", "extends": "nem"})") ==
        recipe + ": /extends: there is no recipe \"nem\"");
  folder.write("recipes/a", R"({"schema": "meshloom.recipe/1", "name": "a", "extends": "nemo"})");
  CHECK_THAT(of_recipe(R"({"schema": "meshloom.recipe/1", "name": "nemo", "extends": "a"})"),
             Catch::Contains("is, in turn, extended by this recipe"));
  CHECK_THAT(of_recipe(R"({"schema": "meshloom.recipe/1", "name": "nemo", "extends": 3})"),
             Catch::Contains("/extends: expected a string"));
}

TEST_CASE("two devices of one name are refused, since runs name devices", "[calibration]") {
  const Folder folder;
  folder.write("devices/mine", device("h100"));
  CHECK(folder.complaint() ==
        folder.file("devices/mine") +
            ": \"h100\" is a name of devices/h100_sxm5_80gb, too; give each device names of its own");
  folder.write("devices/mine", device(""));
  CHECK_THAT(folder.complaint(), Catch::Contains("/name"));
}

TEST_CASE("constants that were read before are read again when their file changes, or one that it extends",
          "[calibration]") {
  const auto launch_of = [](const Constants& constants, const std::string& name) {
    for (const KnownRecipe& recipe : constants.recipes)
      if (recipe.name == name) return recipe.plain.launch;
    FAIL("no recipe " + name);
    return Seconds(0);
  };
  const auto recipe = [](const std::string& name, const std::string& rest) {
    return fmt::format(R"({{"schema": "meshloom.recipe/1", "name": "{}"{}}})", name, rest);
  };
  ConstantFiles files = built_in_constant_files();
  files["recipes/nemo"] = recipe("nemo", R"(, "launch": "1 us")");
  files["recipes/megatron-core"] = recipe("megatron-core", R"(, "extends": "nemo")");
  ConstantsReader reader;
  CHECK(launch_of(reader.read(files), "megatron-core") == Seconds(1e-6));
  files["recipes/nemo"] = recipe("nemo", R"(, "launch": "2 us")");
  CHECK(launch_of(reader.read(files), "megatron-core") == Seconds(2e-6));
  CHECK(launch_of(reader.read(files), "nemo") == Seconds(2e-6));
  const std::string name = "devices/a100_sxm4_80gb";
  files[name] = device("mine");
  const auto has_mine = [](const Constants& constants) {
    return std::any_of(constants.devices.begin(), constants.devices.end(),
                       [](const DeviceFile& file) { return file.device.name == "mine"; });
  };
  CHECK(has_mine(reader.read(files)));
  files.erase(name);
  CHECK_FALSE(has_mine(reader.read(files)));
}
