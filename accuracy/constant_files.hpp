// The device files and recipes that measured runs are priced with, as texts that calibration can change.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "accuracy/calibration_list.hpp"
#include "accuracy/constants.hpp"

namespace meshloom {

// Those that come with the program.
ConstantFiles built_in_constant_files();

// Those with the files of FOLDER/devices and FOLDER/recipes, as `meshloom calibrate -o FOLDER` writes them, in place of
// the ones of their names. Throws InputError.
ConstantFiles read_constant_files(const std::string& folder);

// Read by the usual readers. What a recipe extends and what a device is like is taken from `files`, so that a constant
// that it inherits changes with it; devices that are not there are the program's own. Throws InputError as these do.
Constants constants_from(const ConstantFiles& files);

// Reads files again and again, of which few change in between: the others are not parsed anew. Not for several threads
// at a time.
class ConstantsReader {
 public:
  const Constants& read(const ConstantFiles& files);

 private:
  void read_devices(const ConstantFiles& files);

  using Texts = std::vector<std::pair<std::string, std::string>>;  // of the files that decide an entry, by name
  template <typename Value>
  using Known = std::map<std::string, std::pair<Texts, Value>>;
  Known<DeviceFile> devices_;
  Known<KnownRecipe> recipes_;
  Constants constants_;
};

// The recipe of this name with all that it inherits written out.
std::string resolved_recipe(const ConstantFiles& files, const std::string& name);

// The names of its own kernel sets.
std::vector<std::string> kernel_sets_in(const ConstantFiles& files, const std::string& name);

// The recipe and those that it extends, the nearest first.
std::vector<std::string> recipe_ancestry(const ConstantFiles& files, const std::string& name);

// The files that decide what runs of a GPU with a recipe are priced with: its device file and those that this is like,
// the recipe and those that it extends.
std::vector<std::string> files_of(const ConstantFiles& files, const std::string& gpu, const std::string& recipe);

}  // namespace meshloom
