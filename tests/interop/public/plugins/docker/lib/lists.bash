# The items of a list in the configuration, one a line: NAME itself, or NAME_0, NAME_1 and so on.
read_list() {
  local name="$1" index=0 item
  if [ -n "${!name:-}" ]; then printf '%s\n' "${!name}"; fi
  while item="${name}_${index}" && [ -n "${!item:-}" ]; do
    printf '%s\n' "${!item}"
    index=$((index + 1))
  done
}
