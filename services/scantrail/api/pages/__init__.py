"""The page: screens of the api's answers for people, in; the same routes as everybody's, out.

A screen only asks. Whatever changes something is a form that static/scantrail.js sends to the
API's own route, so that a person and a program are answered by the same code.
"""
