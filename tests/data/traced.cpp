// A look-up layer and a matrix product in miniature, for traces: deterministic, no output, unaligned rows on purpose.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

static std::uint64_t state = 88172645463325252ULL;
static std::uint64_t next() {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

// Sums `tables` rows a token; a row has 9 floats and starts at any multiple of 4 bytes, so that loads cross lines.
static float gather(std::size_t tables, std::size_t rows, std::size_t tokens) {
  const std::size_t columns = 9;
  std::vector<char> data(tables * rows * columns * sizeof(float) + 64, 1);
  std::vector<float> sums(tokens * columns);
  for (std::size_t token = 0; token < tokens; ++token)
    for (std::size_t table = 0; table < tables; ++table) {
      const char* row = data.data() + 2 + (table * rows + next() % rows) * columns * sizeof(float);
      for (std::size_t column = 0; column < columns; ++column) {
        float value;
        std::memcpy(&value, row + column * sizeof(float), sizeof(float));
        sums[token * columns + column] += value;
      }
    }
  return sums.back();
}

static double product(std::size_t n) {
  std::vector<double> a(n * n, 1.0), b(n * n, 2.0), c(n * n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t k = 0; k < n; ++k)
      for (std::size_t j = 0; j < n; ++j) c[i * n + j] += a[i * n + k] * b[k * n + j];
  return c[n];
}

int main(int count, char** values) {
  const std::size_t tokens = count > 1 ? std::strlen(values[1]) : 1;
  volatile double kept = gather(16, 256, 64 * tokens);
  kept = kept + product(24 + 8 * tokens);
  return kept > 1e300;
}
