#compdef sso-agent
# zsh completion for sso-agent. The words come from `sso-agent complete`; compadd quotes them, so that no name of a
# session or profile becomes a command.
_sso_agent() {
    local value help
    local -a values shown directories
    while IFS=$'\t' read -r value help; do
        if [[ $value == */ ]]; then
            directories+=("$value")
        else
            values+=("$value")
            shown+=("$value${help:+  -- $help}")
        fi
    done < <(command sso-agent complete --index $((CURRENT - 1)) -- "${(@Q)words[1,CURRENT]}" 2>/dev/null)
    local -i found=1
    (($#values)) && compadd -l -d shown -a values && found=0
    (($#directories)) && compadd -S '' -a directories && found=0
    return found
}
if [[ $funcstack[1] == _sso-agent ]]; then
    _sso_agent "$@"
else
    compdef _sso_agent sso-agent
fi
