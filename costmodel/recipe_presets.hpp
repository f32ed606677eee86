// The recipes that come with the program, each number with its source. docs/recipe_format.md prints them as a table.
#pragma once

#include <vector>

#include "costmodel/recipe.hpp"

namespace meshloom {

// "neutral" first: the default.
std::vector<Recipe> built_in_recipes();

}  // namespace meshloom
