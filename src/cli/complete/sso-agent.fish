# fish completion for sso-agent. The words come from `sso-agent complete`; fish escapes what it inserts, so that no name
# of a session or profile becomes a command.
function __sso_agent_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor | string replace --all --regex '["\'\\\\]' '')
    command sso-agent complete --index (count $words) -- $words "$current" 2>/dev/null
end
complete --command sso-agent --no-files --keep-order --arguments '(__sso_agent_complete)'
