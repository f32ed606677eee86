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
  folder.write("devices/mine", device("RTX 2080 Ti"));
  const Constants constants = read_constants(folder.path());
  REQUIRE(find_device(constants, "NVIDIA RTX-2080-Ti") != nullptr);
  CHECK(find_device(constants, "RTX 2080 Ti")->device.name == "RTX 2080 Ti");
  CHECK(find_device(constants, "H100") != nullptr);
  CHECK(find_device(built_in_constants(), "RTX 2080 Ti") == nullptr);
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

namespace {

const ConstantFiles& with_like(ConstantFiles& files) {
  files["devices/ours"] = R"({"schema": "meshloom.device/1", "name": "ours", "like": "A100", "memory": "80 GiB",
    "memory_bandwidth": "2 TB/s", "peak": {"bf16": "312 TFLOP/s"}, "devices_per_host": 8,
    "intra_host": {"bandwidth": "200 GB/s", "like": "H100"}, "nic": {"bandwidth": "100 Gbit/s"}, "nics_per_host": 1})";
  return files;
}

std::string with_launch(const ConstantFiles& files, const std::string& name, const std::string& launch) {
  return renamed(files.at(name), "\"launch\": \"10 us\"", "\"launch\": \"" + launch + "\"");
}

}  // namespace

TEST_CASE("a device is like those of its folder, and changes with them", "[calibration]") {
  ConstantFiles files = built_in_constant_files();
  with_like(files);
  ConstantsReader reader;
  const auto launch = [&] { return find_device(reader.read(files), "ours")->device.launch; };
  const Seconds own = device_named("A100")->device.launch;
  CHECK(launch() == own);
  files["devices/a100_sxm4_80gb"] = with_launch(files, "devices/a100_sxm4_80gb", "7 us");
  CHECK(launch() == Seconds(7e-6));
  CHECK(find_device(reader.read(files), "A800")->device.launch == Seconds(7e-6));
  CHECK(find_device(reader.read(files), "H800")->device.launch == own);
  files.erase("devices/a100_sxm4_80gb");  // then it is like the program's own
  CHECK(launch() == own);
  const Folder folder;
  folder.write("devices/a100_sxm4_80gb", with_launch(built_in_constant_files(), "devices/a100_sxm4_80gb", "6 us"));
  folder.write("devices/ours", files.at("devices/ours"));
  CHECK(find_device(read_constants(folder.path()), "ours")->device.launch == Seconds(6e-6));
}

TEST_CASE("runs on a device that is like others depend on their files, too, after its own", "[calibration]") {
  ConstantFiles files = built_in_constant_files();
  CHECK(
      files_of(with_like(files), "ours", "neutral") ==
      std::vector<std::string>{"devices/ours", "devices/a100_sxm4_80gb", "devices/h100_sxm5_80gb", "recipes/neutral"});
  CHECK(files_of(files, "A100", "neutral") == std::vector<std::string>{"devices/a100_sxm4_80gb", "recipes/neutral"});
}
